"""The admin's change lists."""

from tests.detectors.corpus.case import bad, fine

KIND = "admin"


@bad(KIND, "Post.author", path="/admin/corpus/post/", is_staff=True)
def admin_callable_column(request):
    """PostAdmin."""


@bad(KIND, "Comment.author", path="/admin/corpus/comment/", is_staff=True)
def admin_str_column(request):
    """CommentAdmin."""


@bad(KIND, "Tag.posts", path="/admin/corpus/tag/", is_staff=True)
def admin_count_column(request):
    """TagAdmin."""


@fine(KIND, path="/admin/corpus/author/", is_staff=True)
def admin_foreign_key_column(request):
    """AuthorAdmin: Django selects what list_display names."""


@fine(KIND, path="/admin/", is_staff=True)
def admin_index(request):
    """The index page: permissions, recent actions."""


@fine(KIND, path="/admin/corpus/author/add/", is_staff=True)
def admin_add_form(request):
    """The form of a new author, with its choices."""
