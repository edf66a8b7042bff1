"""Prefetches for one object at a time, and for all."""

from django.db.models import Prefetch, prefetch_related_objects

from tests.detectors.corpus.case import bad, fine
from tests.detectors.corpus.models import Author, Comment, Note, Post

KIND = "prefetch_related"


@bad(KIND, "Post.comments")
def prefetch_each_object(request):
    posts = list(Post.objects.all())
    for post in posts:
        prefetch_related_objects([post], "comments")
    return [list(post.comments.all()) for post in posts]


@bad(KIND, "Post.author")
def prefetch_each_foreign_key(request):
    for post in Post.objects.all():
        prefetch_related_objects([post], Prefetch("author"))


@bad(KIND, "Post.tags")
def prefetch_each_many(request):
    for post in Post.objects.iterator():
        prefetch_related_objects([post], "tags")


@bad(KIND, "Post", "Post.comments")
def prefetch_of_get_in_loop(request):
    ids = list(Post.objects.values_list("pk", flat=True))
    return [list(Post.objects.prefetch_related("comments").get(pk=pk).comments.all()) for pk in ids]


@fine(KIND)
def prefetch_all_objects(request):
    posts = list(Post.objects.all())
    prefetch_related_objects(posts, "comments", "tags", "author")
    return [(list(post.comments.all()), post.author.name) for post in posts]


@fine(KIND)
def prefetch_two_keys_to_one_model(request):
    return [(post.author.name, post.editor.name) for post in Post.objects.prefetch_related("author", "editor")]


@fine(KIND)
def prefetch_of_one_object(request):
    post = Post.objects.prefetch_related("author", "editor", "comments", "tags").get(title="post 1")
    return post.author.name, post.editor.name


@fine(KIND)
def prefetch_in_chunks(request):
    posts = Post.objects.prefetch_related("comments").iterator(chunk_size=2)
    return [list(post.comments.all()) for post in posts]


@fine(KIND, rows=3)
def prefetch_in_chunks_with_a_last_one(request):
    return [list(post.comments.all()) for post in Post.objects.prefetch_related("comments").iterator(chunk_size=2)]


@fine(KIND)
def prefetch_in_chunks_of_one(request):
    return [list(post.comments.all()) for post in Post.objects.prefetch_related("comments").iterator(chunk_size=1)]


@fine(KIND)
def prefetch_with_to_attr_and_slice(request):
    comments = Prefetch("comments", queryset=Comment.objects.order_by("-id"), to_attr="newest")
    return [post.newest[:1] for post in Post.objects.prefetch_related(comments)]


@fine(KIND)
def prefetch_through_generic_key(request):
    return [note.subject.author.name for note in Note.objects.prefetch_related("subject__author")]


@fine(KIND)
def prefetch_deep(request):
    authors = Author.objects.prefetch_related("posts__comments__author", "posts__tags__color")
    return [[list(post.comments.all()) for post in author.posts.all()] for author in authors]
