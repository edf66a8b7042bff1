"""The corpus (tests/detectors/corpus): what is found at a threshold of 2 and of 5, and how it is named."""

from __future__ import annotations

import sys
import time

import pytest
from asgiref.sync import async_to_sync
from django.contrib.admin.utils import get_deleted_objects
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Max, QuerySet, Sum
from django.db.models.query import ModelIterable
from django.test import RequestFactory
from django.utils.functional import SimpleLazyObject

from clew.story.local_trace import LocalTrace
from tests.detectors.corpus import cases  # noqa: F401
from tests.detectors.corpus.administration import site
from tests.detectors.corpus.case import CASES
from tests.detectors.corpus.models import (
    Artist,
    Author,
    Comment,
    Note,
    Post,
    Price,
    Reading,
    Restaurant,
    Tag,
    Translation,
)
from tests.detectors.corpus.runner import run, score
from tests.others_code import installed

IS_OLD = sys.version_info < (3, 12)  # comprehensions have frames of their own
pytestmark = [pytest.mark.urls("tests.detectors.corpus.urls"), pytest.mark.django_db]


@pytest.mark.parametrize(("threshold", "least_recall"), [(2, 1.0), (5, 0.98)])
def test_corpus(threshold, least_recall):
    results = run(CASES.values(), threshold)
    found = score(results, threshold)
    print(f"\nthreshold {threshold}: precision {found.precision:.2f}, recall {found.recall:.2f}\n{found.table}")
    print("missed:", ", ".join(found.misses) or "none")
    assert not found.false_alarms, "\n".join(found.false_alarms)
    assert found.recall >= least_recall, "\n".join(found.misses)
    assert not found.misnamed, "\n".join(found.misnamed)


def test_corpus_is_large():
    assert len(CASES) >= 120
    assert min(sum(case.at_two for case in CASES.values()), sum(not case.at_two for case in CASES.values())) >= 55


def tags_by_lists_of_keys():
    keys = list(Tag.objects.values_list("pk", flat=True))
    return [list(Tag.objects.filter(pk__in=keys[n : n + 2])) for n in range(6)]


def author_name(post):
    return post.author.name


def helper_from_many_lines():
    one, two, three, four, five, six, *_ = Post.objects.all()
    return (
        author_name(one),
        author_name(two),
        author_name(three),
        author_name(four),
        author_name(five),
        author_name(six),
    )


def locks():
    return [Author.objects.select_for_update().get(name=f"author {n}") for n in range(6)]


# Indistinguishable from batches; deliberate; see the detector's docstring.
KNOWN_TO_BE_MISSED = {
    "lists of keys for each row": tags_by_lists_of_keys,
    "helper called from many lines": helper_from_many_lines,
    "locks": locks,
}


@pytest.fixture
def found(findings_of):
    return lambda function, **settings: findings_of("n_plus_one", function, **settings)


def names_of_authors():
    return [post.author.name for post in Post.objects.all()]


def test_says_what_where_how_often_and_the_remedy(found):
    (finding,) = found(names_of_authors)
    assert finding["clew.finding.about"].startswith("N+1: Post.author was loaded one by one, 12 queries, ")
    assert '.select_related("author")' in finding["clew.finding.fix"]
    qualifier = "names_of_authors.<locals>." if sys.version_info >= (3, 11) else f"{__name__}."
    assert finding["site"].function.endswith(f"{qualifier}<listcomp>" if IS_OLD else "names_of_authors")
    assert finding["clew.finding.query_count"] == 12
    assert finding["clew.finding.relation"] == "Post.author"
    assert finding["clew.finding.model"] == "Post"
    assert finding["clew.finding.field"] == "author"
    assert finding["clew.finding.query"] == "SELECT corpus_author"
    assert finding["clew.finding.duration_ms"] > 0
    assert finding["clew.finding.severity"] == "information"


ZEALS = """
def wrapped(original):
    def wrapper(self, *args):
        return original(self, *args)
    return wrapper
"""


def test_somebodys_wrapper_is_not_taken_for_the_method_that_was_called(found, monkeypatch):
    monkeypatch.setattr(QuerySet, "_fetch_all", installed(ZEALS)["wrapped"](QuerySet._fetch_all))
    (finding,) = found(lambda: [list(post.tags.all()) for post in Post.objects.all()])
    assert "Post.tags.all() was asked for one by one" in finding["clew.finding.about"]


def test_is_a_warning_when_it_takes_long(found):
    def slow(execute, *args):
        time.sleep(0.005)
        return execute(*args)

    def ask():
        with connection.execute_wrapper(slow):
            return names_of_authors()

    (finding,) = found(ask)
    assert finding["clew.finding.severity"] == "warning"


@pytest.mark.parametrize(
    ("function", "remedy"),
    [
        (lambda: [list(post.comments.all()) for post in Post.objects.all()], '.prefetch_related("comments")'),
        (lambda: [post.comments.count() for post in Post.objects.all()], 'Count("comments", distinct=True)'),
        (
            lambda: [post.comments.exists() for post in Post.objects.all()],
            'Exists(Comment.objects.filter(post=OuterRef("pk"))',
        ),
        (lambda: [post.comments.first() for post in Post.objects.all()], 'Prefetch("comments"'),
        (lambda: [list(post.comments.filter(text="")) for post in Post.objects.all()], 'to_attr="loaded_comments"'),
        (
            lambda: [list(post.comments.filter(text="")) for post in Post.objects.prefetch_related("comments")],
            "filter in Python",
        ),
        (lambda: [Author.objects.get(name=f"author {n}") for n in range(6)], "Author.objects.in_bulk("),
        (
            lambda: [Comment.objects.filter(post=post).count() for post in Post.objects.all()],
            '.values("post").annotate(',
        ),
        (lambda: [post.body for post in Post.objects.only("title")], '"body"'),
        (lambda: [note.subject for note in Note.objects.all()], '.prefetch_related("subject")'),
        (lambda: [post.refresh_from_db() for post in Post.objects.all()], "Post.objects.in_bulk(ids)"),
    ],
    ids=[
        "all",
        "count",
        "exists",
        "first",
        "filter",
        "in vain",
        "get",
        "count by filter",
        "only",
        "generic",
        "refresh",
    ],
)
def test_remedies(found, function, remedy):
    (finding,) = found(function)
    assert remedy in finding["clew.finding.fix"]


def comments_of_the_authors_posts():
    return [[list(each.comments.all()) for each in post.author.posts.all()] for post in Post.objects.all()]


def authors_of_comments_one_by_one():
    posts = [Comment.objects.get(pk=pk).post for pk in list(Comment.objects.values_list("pk", flat=True))]
    return [(list(post.comments.all()), post.author.name) for post in posts]


@pytest.mark.parametrize(
    ("function", "of", "remedy"),
    [
        (
            comments_of_the_authors_posts,
            "Post.comments",
            '("author__posts__comments") to the queryset that',
        ),
        (authors_of_comments_one_by_one, "Comment.post", '("post") to the queryset that loads the Comment objects'),
        (authors_of_comments_one_by_one, "Post.author", '("post__author") to the queryset that loads the Comment'),
    ],
)
def test_remedies_go_through_a_circle_once_and_no_way_back(found, function, of, remedy):
    fixes = {each.get("clew.finding.relation"): each["clew.finding.fix"] for each in found(function)}
    assert remedy in fixes[of]


def comments_of_one_post():
    post = Post.objects.first()
    return [post.comments.filter(text=f"text {number}").first() for number in range(6)]


def exists_of_one_post():
    post = Post.objects.first()
    return [post.tags.filter(name=f"tag {number}").exists() for number in range(6)]


def restaurants_by_their_places_name():
    return [Restaurant.objects.filter(name=f"place {number}").order_by("name").first() for number in range(6)]


def colors_of_tags():
    return [Tag.objects.filter(color__name=f"color {number}").order_by("name").first() for number in range(6)]


@pytest.mark.parametrize(
    ("function", "about", "remedy"),
    [
        (
            comments_of_one_post,
            "Post.comments.filter().first() of one Post",
            "post.comments.filter(text__in=[...])",
        ),
        (
            exists_of_one_post,
            "Post.tags.filter().exists() of one Post",
            "post.tags.filter(name__in=[...]).values_list(",
        ),
        (
            colors_of_tags,
            "Tag was queried in a loop",
            'Tag.objects.filter(color__name__in=[...]).annotate(color_name=F("color__name")).order_by("name")',
        ),
        (
            restaurants_by_their_places_name,
            "Restaurant was queried in a loop (order_by().first() by name)",
            'Restaurant.objects.filter(name__in=[...]).order_by("name"), and group or look them up by name',
        ),
    ],
)
def test_remedies_of_one_object_and_of_others_columns(found, function, about, remedy):
    (finding,) = found(function)
    assert about in finding["clew.finding.about"]
    assert remedy in finding["clew.finding.fix"]


def artists():
    Artist.everything.bulk_create([Artist(name=f"artist {n}", is_deleted=n % 2) for n in range(6)])
    return list(Artist.everything.values_list("pk", flat=True))


@pytest.mark.parametrize(
    ("ask", "remedy"),
    [
        (lambda pk: Artist.everything.get(pk=pk), "found = Artist.everything.in_bulk([...])"),
        (lambda pk: Artist.objects.filter(pk=pk).first(), "found = Artist.objects.in_bulk([...])"),
        (
            lambda pk: Artist.everything.filter(pk=pk, is_deleted=False).first(),
            "Artist.everything.filter(id__in=[...], is_deleted=False), and",
        ),
        (
            lambda pk: Translation.of_buttons.filter(text=f"text {pk}").first(),
            "Translation.of_buttons.filter(text__in=[...]), and",
        ),
        (lambda pk: list(Artist._base_manager.filter(pk=pk)), "Artist.objects.filter(id__in=[...]), and"),
    ],
)
def test_remedies_ask_the_manager_that_was_asked_and_leave_its_conditions_to_it(found, ask, remedy):
    keys = artists()
    (finding,) = found(lambda: [ask(pk) for pk in keys])
    assert remedy in finding["clew.finding.fix"]


@pytest.mark.parametrize(
    ("ask", "remedy"),
    [
        (
            lambda post: Reading.objects.filter(post=post).filter(reader__name__in=["a", "b"]).count(),
            'Reading.objects.filter(post__in=[...], reader__name__in=...).values("post").annotate(number=Count("pk"))',
        ),
        (
            lambda post: list(Comment.objects.filter(id__in=[post.pk, 7], author__in=[1, 2, None, 2])),
            "Comment.objects.in_bulk([...]) once",
        ),
        (
            lambda post: list(Comment.objects.filter(post=post, text__range=("a", "z"))),
            "Comment.objects.filter(post__in=[...], text__range=...), and",
        ),
        (
            lambda post: Price.objects.filter(post=post).aggregate(Max("day"), Sum("amount")),
            '.values("post").annotate(day_max=Max("day"), amount_sum=Sum("amount"))',
        ),
    ],
)
def test_remedies_ask_for_what_was_asked_by_what_differs(found, ask, remedy):
    (finding,) = found(lambda: [ask(post) for post in Post.objects.all()])
    assert remedy in finding["clew.finding.fix"]


class OfSubclasses(ModelIterable):
    """As of django-model-utils' InheritanceManager: objects, of another class."""


def test_others_iterables_are_no_values(found, monkeypatch):
    def first_of(post):
        queryset = post.comments.order_by("text")
        queryset._iterable_class = OfSubclasses
        return queryset.first()

    (finding,) = found(lambda: [first_of(post) for post in Post.objects.all()])
    assert "Post.comments.order_by().first() was asked for" in finding["clew.finding.about"]
    assert "in Python" not in finding["clew.finding.fix"]


def test_what_the_admins_delete_page_shows(found):
    request = RequestFactory().get("/")
    request.user = User(is_superuser=True, is_active=True)
    (finding,) = found(lambda: get_deleted_objects(list(Comment.objects.all()), request, site))
    assert "Comment.author was loaded one by one" in finding["clew.finding.about"]
    assert "let __str__ of Comment not follow author, or override get_deleted_objects()" in finding["clew.finding.fix"]


def comments_by_key():
    keys = Post.objects.values_list("pk", "author_id")
    return [Comment(post_id=post, author_id=author) for post, author in keys]


@pytest.mark.parametrize("make", [comments_by_key, lambda: Comment.objects.bulk_create(comments_by_key())])
def test_remedy_of_objects_that_were_built_with_a_key(found, make):
    (finding,) = found(lambda: [each.post.title for each in make()])
    assert "Comment.post was loaded one by one" in finding["clew.finding.about"]
    assert "where they are built, pass the object itself, Comment(post=...)" in finding["clew.finding.fix"]


def test_remedy_goes_not_through_objects_that_were_built(found):
    fixes = [each["clew.finding.fix"] for each in found(lambda: [each.post.editor.name for each in comments_by_key()])]
    assert any('.select_related("editor") to the queryset that loads the Post objects' in fix for fix in fixes)


def test_remedy_of_saved_objects_that_were_loaded(found):
    (finding,) = found(lambda: [each.post.title for each in Comment.objects.all()])
    assert '.select_related("post") to the queryset that loads the Comment objects' in finding["clew.finding.fix"]


def test_the_first_row_of_a_relation_is_answered_by_a_prefetch(found):
    (finding,) = found(lambda: [post.comments.all()[0].text for post in Post.objects.all()])
    assert finding["clew.finding.fix"].startswith('add .prefetch_related("comments") to the queryset')
    assert not found(lambda: [post.comments.all()[0].text for post in Post.objects.prefetch_related("comments")])


def test_what_a_repeated_queryset_prefetches_is_said_once(found):
    posts = Post.objects.prefetch_related("comments", "tags")
    (finding,) = found(lambda: [posts.get(pk=pk) for pk in Post.objects.values_list("pk", flat=True)])
    assert finding["clew.finding.about"].startswith("N+1: Post was queried in a loop")


def test_unsampled_requests_are_watched(found, monkeypatch):
    monkeypatch.setattr(LocalTrace, "of_queries", unsampled(LocalTrace.of_queries))
    (finding,) = found(names_of_authors)
    assert finding["clew.finding.relation"] == "Post.author"


def unsampled(original):
    def of_queries(self):
        self.is_recording = False
        return original(self)

    return of_queries


def test_does_not_evaluate_what_is_lazy(found):
    def never():
        raise AssertionError("evaluated")

    lazy = SimpleLazyObject(never)

    def ask(unused, self):
        return [post.author.name for post in Post.objects.all()]

    assert found(lambda: ask(lazy, self=lazy))


@pytest.mark.parametrize("name", KNOWN_TO_BE_MISSED)
def test_known_to_be_missed(found, name):
    assert not found(KNOWN_TO_BE_MISSED[name])


async def six_lines():
    await Author.objects.aget(name="author 1")
    await Author.objects.aget(name="author 2")
    await Author.objects.aget(name="author 3")
    await Author.objects.aget(name="author 4")
    await Author.objects.aget(name="author 5")
    await Author.objects.aget(name="author 6")


async def one_line():
    for n in range(6):
        await Author.objects.aget(name=f"author {n}")


def test_detects_async_loops_below_a_root_of_others(found):
    (finding,) = found(lambda: async_to_sync(one_line)())
    assert finding["clew.finding.query_count"] == 6
    assert finding["site"].function.endswith("one_line")


def test_no_false_positive_async_lines_below_a_root_of_others(found):
    assert not found(lambda: async_to_sync(six_lines)())
    assert not found(lambda: async_to_sync(six_lines)(), n_plus_one_threshold=2)
