"""Fields that were left out of the query."""

from tests.detectors.corpus.case import bad, fine
from tests.detectors.corpus.models import Author, Post, Profile

KIND = "deferred field"


@bad(KIND, "Post.body")
def deferred_in_loop(request):
    return [post.body for post in Post.objects.defer("body")]


@bad(KIND, "Post.body")
def only_in_loop(request):
    return [(post.title, post.body) for post in Post.objects.only("title")]


@bad(KIND, "Author.bio")
def deferred_of_selected(request):
    return [post.author.bio for post in Post.objects.select_related("author").defer("author__bio")]


@bad(KIND, "Post.author")
def only_without_the_key(request):
    return [post.author_id for post in Post.objects.only("title")]


@bad(KIND, "Post.body")
def only_in_generator(request):
    return sum(len(post.body) for post in Post.objects.only("id").iterator())


@fine(KIND)
def deferred_not_read(request):
    return [post.title for post in Post.objects.defer("body")]


@fine(KIND)
def only_what_is_read(request):
    return [
        (post.title, post.author.name) for post in Post.objects.select_related("author").only("title", "author__name")
    ]


@fine(KIND)
def deferred_of_one_object(request):
    return Author.objects.defer("bio").first().bio


@fine(KIND)
def two_deferred_fields_of_one_object(request):
    post = Post.objects.only("id").first()
    return [getattr(post, name) for name in ("title", "body", "is_published")]


@fine(KIND)
def key_of_child(request):
    return [profile.pk for profile in Profile.objects.only("website")]
