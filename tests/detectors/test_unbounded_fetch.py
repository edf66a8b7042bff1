"""`unbounded_fetch`: a query without LIMIT that returns very many rows."""

from __future__ import annotations

import pytest
from django.contrib.admin.utils import get_deleted_objects
from django.contrib.auth.models import Group, User
from django.db.models import Count
from django.test import RequestFactory

from clew.testing import tracing
from tests.detectors.corpus.administration import site
from tests.detectors.corpus.models import Author, Country, Post
from tests.detectors.corpus.rows import DAY
from tests.detectors.served import get
from tests.detectors.shared import found

pytestmark = pytest.mark.django_db


@pytest.fixture
def groups():
    Group.objects.bulk_create([Group(name=f"group {number}") for number in range(250)])


def findings(body, threshold=200):
    with tracing(unbounded_fetch_threshold_rows=threshold) as trace:
        get(body)
    return found(trace, "unbounded_fetch"), trace


@pytest.mark.usefixtures("groups")
def test_detects_all_rows_of_a_table():
    [finding], trace = findings(lambda: list(Group.objects.all()))
    assert finding.message.startswith("SELECT auth_group has no LIMIT and returned 250 rows")
    assert ".iterator()" in finding.fix
    assert finding.site.path == __file__
    [query] = [span for span in trace.spans if span.kind.name == "CLIENT"]
    assert [event.attributes["clew.finding.type"] for event in query.events] == ["unbounded_fetch"]


@pytest.mark.usefixtures("groups")
@pytest.mark.parametrize(
    "body",
    [
        lambda: list(Group.objects.all()[:240]),
        lambda: [group.name for group in Group.objects.iterator()],
        lambda: [group.name for group in Group.objects.iterator(chunk_size=100)],
        lambda: Group.objects.count(),
        lambda: Group.objects.filter(name="group 1").first(),
        lambda: Group.objects.all(),
        lambda: list(Group.objects.filter(pk__in=list(range(1, 100_000, 1))[:900])),
        lambda: list(Group.objects.values("name").annotate(number=Count("pk"))),
    ],
    ids=["slice", "iterator", "chunks", "count", "first", "never evaluated", "keys", "groups"],
)
def test_no_false_positive(body):
    assert findings(body)[0] == []


@pytest.mark.usefixtures("groups")
def test_no_false_positive_below_the_threshold_or_without_one():
    assert findings(lambda: list(Group.objects.all()), 251)[0] == []
    assert findings(lambda: list(Group.objects.all()), 0)[0] == []


@pytest.mark.usefixtures("groups")
@pytest.mark.parametrize(
    "body",
    [
        lambda: list(Group.objects.filter(name__in=["x", "y"]) | Group.objects.exclude(pk__in=[-1, -2])),
        lambda: list(Group.objects.annotate(number=Count("permissions"))),
    ],
    ids=["few values", "a count for each"],
)
def test_detects_what_neither_keys_nor_groups_bound(body):
    assert len(findings(body)[0]) == 1


@pytest.fixture
def author():
    author = Author.objects.create(name="busy", country=Country.objects.create(name="here"))
    Post.objects.bulk_create([Post(title=f"p{n}", created=DAY, author=author, editor=author) for n in range(250)])
    return author


def test_what_a_delete_loads_is_not_to_be_paginated(author):
    found, _ = findings(lambda: Author.objects.filter(pk=author.pk).delete())
    assert {each.message.partition(" has")[0] for each in found} == {"SELECT corpus_post"}
    assert {each.fix.partition(": ")[0] for each in found} == {"deleting loads what goes with the objects"}


def test_what_the_admins_delete_page_loads(author):
    request = RequestFactory().get("/")
    request.user = User(is_superuser=True, is_active=True)
    found, _ = findings(lambda: get_deleted_objects([author], request, site))
    assert {each.fix.partition(": ")[2] for each in found} == {"override get_deleted_objects() of the admin"}
