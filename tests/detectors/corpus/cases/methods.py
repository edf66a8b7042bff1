"""Queries hidden in properties, methods, managers and helpers."""

import functools

from tests.detectors.corpus.case import bad, fine
from tests.detectors.corpus.models import Author, Comment, Country, Post

KIND = "property, method, manager"


@bad(KIND, "Post.author")
def method_in_loop(request):
    return [post.byline() for post in Post.objects.all()]


@bad(KIND, "Author.country")
def property_in_loop(request):
    return [author.country_name for author in Author.objects.all()]


@bad(KIND, "Comment.author")
def str_in_loop(request):
    return "\n".join(str(comment) for comment in Comment.objects.all())


@bad(KIND, "Post.comments")
def method_with_first(request):
    return [post.last_comment() for post in Post.objects.all()]


@bad(KIND, "Author.posts")
def method_returning_queryset(request):
    return [list(author.published()) for author in Author.objects.all()]


@bad(KIND, "Author.posts")
def custom_queryset_method(request):
    return [list(author.posts.published()) for author in Author.objects.all()]


@bad(KIND, "Author.country")
def helper_in_loop(request):
    def described(author):
        return {"name": author.name, "country": author.country.name}

    return [described(author) for author in Author.objects.all()]


def logged(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)

    return wrapper


@logged
def author_of(post):
    return post.author


@bad(KIND, "Post.author")
def decorated_helper_in_loop(request):
    return [author_of(post).name for post in Post.objects.all()]


class Dashboard:
    def __init__(self, posts):
        self.posts = posts

    def rows(self):
        for post in self.posts:
            yield self.row(post)

    def row(self, post):
        return post.title, post.author.name


@bad(KIND, "Post.author")
def service_class(request):
    return list(Dashboard(Post.objects.all()).rows())


@fine(KIND)
def method_with_author_selected(request):
    return [post.byline() for post in Post.objects.with_author()]


@fine(KIND)
def property_selected(request):
    return [author.country_name for author in Author.objects.select_related("country")]


@fine(KIND)
def helper_called_from_many_lines(request):
    one, two, three = Post.objects.all()[:3]
    found = [author_of(one).name]
    found.append(author_of(two).name)
    found += [author_of(three).name]
    return found


@fine(KIND)
def remembered_by_lru_cache(request):
    @functools.lru_cache
    def country(pk):
        return Country.objects.get(pk=pk)

    first = Country.objects.first().pk
    return [country(first) for _ in range(6)]


@fine(KIND)
def cached_property_of_one_object(request):
    author = Author.objects.first()
    return [author.post_count for _ in range(6)]
