"""An unsampled request finds the same as a sampled one, from the same count on."""

from __future__ import annotations

import pytest

from tests.detectors.corpus.models import Author, Job, Post, Tag
from tests.detectors.corpus.rows import DAY
from tests.detectors.served import get
from tests.detectors.shared import unsampled

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("rows")]


def types(body):
    return [finding.type for finding in unsampled(lambda: get(body))]


def authors(count):
    return lambda: [post.author.name for post in Post.objects.all()[:count]]


def created(count):
    return lambda: [Job.objects.create(name=str(n), due=DAY) for n in range(count)]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (authors(5), ["n_plus_one"]),
        (authors(4), []),
        (lambda: [Author.objects.get(name=f"author {n}") for n in range(5)], ["n_plus_one"]),
        (created(10), ["write_in_loop"]),
        (created(9), []),
        (lambda: [Author.objects.count() for _ in range(3)], ["repeated_query"]),
        (lambda: [Author.objects.count() for _ in range(2)], []),
    ],
    ids=["relation", "too few", "get", "inserts", "too few inserts", "same", "twice"],
)
def test_from_the_same_count(body, expected):
    assert types(body) == expected


def test_no_false_positive_from_another_requests_verdict():
    """What was found at a place once is found there again, but not from fewer runs."""

    counts = [4, 12]

    def body():
        return [post.author.name for post in Post.objects.all()[: counts.pop()]]

    both = unsampled(lambda: [get(body), get(body)])
    assert [finding.type for finding in both] == ["n_plus_one"]


def test_no_false_positive_different_lines():
    def body():
        Tag.objects.get(name="tag 1")
        Tag.objects.get(name="tag 2")
        Tag.objects.get(name="tag 3")
        Tag.objects.get(name="tag 4")
        Tag.objects.get(name="tag 5")
        Tag.objects.get(name="tag 6")

    assert types(body) == []
