"""Every way to go through a list."""

import itertools
from operator import attrgetter

from django.db import transaction

from tests.detectors.corpus.case import bad, fine
from tests.detectors.corpus.models import Author, Post

KIND = "ways to iterate"


def author_name(post):
    return post.author.name


@bad(KIND, "Post.author")
def by_map(request):
    return list(map(author_name, Post.objects.all()))


@bad(KIND, "Post.author")
def by_generator(request):
    def names():
        for post in Post.objects.all():
            yield post.author.name

    return list(names())


@bad(KIND, "Post.author")
def by_sorting(request):
    return sorted(Post.objects.all(), key=attrgetter("author.name"))


@bad(KIND, "Post.editor")
def by_zip(request):
    return [editor.name for _, editor in zip(range(9), (post.editor for post in Post.objects.all()))]  # noqa: B905


@bad(KIND, "Post.author")
def by_groupby(request):
    return [key for key, _ in itertools.groupby(Post.objects.all(), key=lambda post: post.author.name)]


@bad(KIND, "Post.author")
def by_any(request):
    return any(post.author.name == "nobody" for post in Post.objects.all())


@bad(KIND, "Post.author")
def by_while(request):
    posts = list(Post.objects.all())
    found = []
    while posts:
        found.append(posts.pop().author.name)
    return found


@bad(KIND, "Post.author")
def by_dict_comprehension(request):
    return {post.title: post.author.name for post in Post.objects.all()}


@bad(KIND, "Post.author")
def by_savepoints(request):
    found = []
    for post in Post.objects.all():
        with transaction.atomic():
            found.append(post.author.name)
    return found


@bad(KIND, "Post.author")
def by_try_in_loop(request):
    found = []
    for post in Post.objects.all():
        try:
            found.append(post.author.name)
        except Author.DoesNotExist:
            found.append(None)
    return found


@bad(KIND, "Post.author")
def by_getattr(request):
    def reached(thing, path):
        for name in path.split("."):
            thing = getattr(thing, name)
        return thing

    return [[reached(post, path) for path in ("title", "author.name")] for post in Post.objects.all()]


@fine(KIND)
def by_generator_selected(request):
    def names():
        for post in Post.objects.select_related("author").iterator():
            yield post.author.name

    return list(names())


@fine(KIND)
def by_getattr_of_one_object(request):
    post = Post.objects.first()
    return [getattr(post, name) for name in ("author", "editor", "category")]


@fine(KIND)
def by_loop_with_break(request):
    for post in Post.objects.all():
        if post.author.name:
            return post
    return None


@fine(KIND)
def by_steps_of_a_report(request):
    steps = (
        lambda: Post.objects.filter(is_published=True).count(),
        lambda: Author.objects.filter(country__code="c1").count(),
        lambda: Post.objects.filter(title__startswith="post").exists(),
    )
    return [step() for step in steps]
