"""Queries that come again and again are told as any other, though they cost no more than a clock and a counter."""

from __future__ import annotations

import pytest
from django.db import DatabaseError, connection, transaction
from opentelemetry import trace as otel

from clew.testing import tracing
from tests.detectors.corpus.models import Author, Post
from tests.detectors.corpus.rows import make
from tests.detectors.served import get
from tests.detectors.shared import found, unsampled

pytestmark = pytest.mark.django_db
COUNT, ROWS, QUERIES = "clew.folded.count", "db.response.returned_rows", "clew.db.query_count"


def names_of(posts):
    return [post.author.name for post in posts]


def served(body, rows=30):
    make(rows)
    with tracing() as trace:
        assert get(body).status_code == 200
    return trace


def of_authors(trace):
    spans = [span for span in trace.spans if span.attributes.get("db.collection.name", "").endswith("author")]
    return sorted([span.attributes.get(COUNT, 1) for span in spans])


def test_every_run_is_counted_once_everywhere():
    trace = served(lambda: names_of(Post.objects.all()))
    assert of_authors(trace) == [30]
    (root,) = [span for span in trace.spans if span.parent is None]
    assert (root.attributes[QUERIES], root.attributes["clew.db.rows"]) == (31, 60)
    (finding,) = found(trace, "n_plus_one")
    assert finding.evidence["query_count"] == 30
    (folded,) = [span for span in trace.spans if span.attributes.get(COUNT)]
    assert folded.attributes[ROWS] == 30
    assert folded.end_time - folded.start_time == pytest.approx(folded.attributes["clew.folded.duration_ms"] * 1e6)


def test_lines_further_out_are_places_of_their_own():
    """One helper, called in two loops: its runs in the second are none of the first's."""

    def body():
        posts = list(Post.objects.all())
        for post in posts[:20]:
            names_of([post])
        for post in posts[20:]:
            names_of([post])

    trace = served(body, 35)
    assert of_authors(trace) == [35]
    assert sorted(finding.evidence["query_count"] for finding in found(trace, "n_plus_one")) == [20]


def test_each_span_has_its_own():
    def body():
        posts = list(Post.objects.all())
        for some in (posts[:20], posts[20:]):
            with otel.get_tracer("tests").start_as_current_span("half"):
                names_of(some)

    assert of_authors(served(body)) == [10, 20]


def test_an_error_among_them_is_a_span():
    def body():
        def broken(execute, sql, params, many, context):
            if len(asked) == 20:
                asked.append(sql)
                raise DatabaseError("lost")
            asked.append(sql)
            return execute(sql, params, many, context)

        asked, posts = [], list(Post.objects.all())
        with connection.execute_wrapper(broken):
            for post in posts:
                try:
                    assert post.author.name
                except DatabaseError:
                    failed.append(post)

    failed = []
    trace = served(body)
    assert len(failed) == 1
    assert of_authors(trace) == [1, 29]
    (error,) = [span for span in trace.spans if not span.status.is_ok]
    assert error.attributes["error.type"] == "django.db.utils.DatabaseError"


def test_those_in_a_transaction_are_counted_there():
    def body():
        with transaction.atomic():
            names_of(Post.objects.all())
            Post.objects.update(title="other")
            names_of(Post.objects.all())

    trace = served(body)
    (span,) = [span for span in trace.spans if span.name.startswith("transaction")]
    assert (
        span.attributes["django.db.transaction.query_count"],
        span.attributes["django.db.transaction.write_count"],
    ) == (63, 1)


def test_slow_ones_are_found():
    def body():
        from clew.story.detector import watchers

        names_of(Post.objects.all()[:20])
        watchers.slow_ns = 0
        names_of(Post.objects.all()[:20])

    assert {finding.evidence["count"] for finding in found(served(body), "slow_query")} >= {20}


def test_rows_read_in_chunks_are_counted():
    def body():
        for post in Post.objects.all():
            list(Author.objects.filter(pk=post.author_id).iterator())

    trace = served(body)
    assert of_authors(trace) == [30]
    (root,) = [span for span in trace.spans if span.parent is None]
    assert root.attributes["clew.db.rows"] == 60


@pytest.mark.django_db(transaction=True)
def test_what_is_not_recorded_is_counted():
    make(30)
    seen = []

    def body():
        from clew.story import local_trace

        names_of(Post.objects.all())
        seen.append(local_trace.current().queries)

    (finding,) = [each for each in unsampled(lambda: get(body)) if each.type == "n_plus_one"]
    (queries,) = seen
    assert queries.count == sum(log.count for log in queries.aliases.values()) == 31
    assert finding.site is not None
    assert queries.duration_ns > 0
