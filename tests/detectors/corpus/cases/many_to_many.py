"""Many-to-many relations, both ways."""

from django.db.models import Prefetch

from tests.detectors.corpus.case import bad, fine
from tests.detectors.corpus.models import Author, Post, Tag

KIND = "many to many"


@bad(KIND, "Post.tags")
def many_in_loop(request):
    return [[tag.name for tag in post.tags.all()] for post in Post.objects.all()]


@bad(KIND, "Tag.posts")
def many_from_the_other_side(request):
    return [[post.title for post in tag.posts.all()] for tag in Tag.objects.all()]


@bad(KIND, "Post.readers")
def many_through(request):
    return [[reader.name for reader in post.readers.all()] for post in Post.objects.all()]


@bad(KIND, "Author.friends")
def many_to_self(request):
    return [list(author.friends.all()) for author in Author.objects.all()]


@bad(KIND, "Author.followers")
def many_to_self_from_the_other_side(request):
    return [list(author.followers.all()) for author in Author.objects.all()]


@bad(KIND, "Post.tags")
def many_ids_only(request):
    return [list(post.tags.values_list("id", flat=True)) for post in Post.objects.all()]


@bad(KIND, "Tag.color")
def many_prefetched_but_not_deeper(request):
    return [[tag.color.name for tag in post.tags.all()] for post in Post.objects.prefetch_related("tags")]


@bad(KIND, "Post.tags")
def many_joined(request):
    return [", ".join(post.tags.order_by("name").values_list("name", flat=True)) for post in Post.objects.all()]


@fine(KIND)
def many_prefetched(request):
    return [[tag.name for tag in post.tags.all()] for post in Post.objects.prefetch_related("tags")]


@fine(KIND)
def many_prefetched_both_ways(request):
    posts = Post.objects.prefetch_related("tags", "readers", "comments")
    return [(list(post.tags.all()), list(post.readers.all())) for post in posts]


@fine(KIND)
def many_prefetched_with_color(request):
    tags = Prefetch("tags", queryset=Tag.objects.select_related("color"))
    return [[tag.color.name for tag in post.tags.all()] for post in Post.objects.prefetch_related(tags)]


@fine(KIND)
def many_of_one_object(request):
    return [tag.name for tag in Post.objects.first().tags.all()]


@fine(KIND)
def many_filtered_from_the_far_side(request):
    return list(Tag.objects.filter(posts__is_published=True).distinct())


@fine(KIND)
def many_two_relations_of_one_object(request):
    author = Author.objects.first()
    return [list(getattr(author, name).all()) for name in ("friends", "follows", "followers")]
