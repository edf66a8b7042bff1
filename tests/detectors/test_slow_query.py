"""`slow_query`: a query that takes longer than the setting says."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from django.db import connection

from clew.detectors import slow_query
from clew.sql.statement import statement
from clew.testing import tracing
from tests.detectors.served import get
from tests.detectors.shared import found, unsampled

pytestmark = pytest.mark.django_db


def sleep(seconds: float, sql: str = "SELECT nap(%s)") -> None:
    connection.ensure_connection()
    connection.connection.create_function("nap", 1, time.sleep)
    with connection.cursor() as cursor:
        cursor.execute(sql, [seconds])
        cursor.fetchall()


def test_detects_a_query_longer_than_the_threshold():
    with tracing(slow_query_threshold_ms=20) as trace:
        get(lambda: sleep(0.05))
    [finding] = found(trace, "slow_query")
    assert finding.message.startswith("SELECT took ")
    assert finding.message.endswith("longer than slow_query_threshold_ms (20)")
    assert finding.evidence["duration_ms"] >= 50
    assert finding.site is not None
    assert finding.site.path == __file__
    [query] = [span for span in trace.spans if span.kind.name == "CLIENT"]
    assert [event.attributes["clew.finding.type"] for event in query.events] == ["slow_query"]
    assert trace.spans[-1].attributes["clew.slow_query.count"] == 1


def test_detects_one_for_each_line_and_counts_its_runs():
    def twice():
        for _ in range(2):
            sleep(0.03)

    with tracing(slow_query_threshold_ms=20) as trace:
        get(twice)
    [finding] = found(trace, "slow_query")
    assert finding.evidence["count"] == 2
    assert "(the slowest of 2)" in finding.message


def test_detects_it_in_an_unsampled_request():
    # The threshold is the default's, so the query must be slower than that.
    kinds = [finding.type for finding in unsampled(lambda: get(lambda: sleep(0.55)))]
    assert kinds == ["slow_query"]


def test_no_false_positive_for_a_fast_query():
    with tracing(slow_query_threshold_ms=1000) as trace:
        get(lambda: sleep(0.001))
    assert found(trace, "slow_query") == []


def test_no_false_positive_when_it_is_switched_off():
    for settings in (
        {"slow_query_threshold_ms": 0},
        {"ignored_findings": ("slow_query",), "slow_query_threshold_ms": 1},
    ):
        with tracing(**settings) as trace:
            get(lambda: sleep(0.01))
        assert found(trace, "slow_query") == []


def advice(sql: str, error: BaseException | None = None) -> str:
    return slow_query._fix(
        SimpleNamespace(statement=statement(sql, has_parameters=True, is_from_orm=True), error=error)
    )


@pytest.mark.parametrize(
    "sql",
    [
        'UPDATE "shop_item" SET "stock" = %s WHERE "shop_item"."id" = %s',
        "UPDATE `shop_item` SET `stock` = %s WHERE `shop_item`.`id` = %s",
        'DELETE FROM "shop_item" WHERE "shop_item"."id" = %s',
        'INSERT INTO "shop_item" ("name", "stock") VALUES (%s, %s) RETURNING "shop_item"."id"',
        'SELECT "shop_item"."id" FROM "shop_item" WHERE "shop_item"."id" = %s FOR UPDATE',
        "SELECT pg_advisory_lock(%s)",
        "SELECT GET_LOCK(%s, 10)",
        "LOCK TABLE shop_item IN EXCLUSIVE MODE",
    ],
)
def test_a_wait_for_a_lock_gets_no_advice_on_plans(sql):
    assert "lock" in advice(sql)
    assert "EXPLAIN" not in advice(sql).upper()


@pytest.mark.parametrize(
    "sql",
    [
        'UPDATE "shop_item" SET "stock" = %s WHERE "shop_item"."name" = %s',
        'INSERT INTO "shop_item" ("name") VALUES (%s), (%s)',
        'SELECT "shop_item"."id" FROM "shop_item" WHERE "shop_item"."id" = %s',
    ],
)
def test_work_gets_advice_on_plans(sql):
    assert "EXPLAIN" in advice(sql).upper()


def test_a_refused_lock_is_told_by_its_code():
    error, cause = ValueError(), ValueError()
    cause.sqlstate, error.__cause__ = "55P03", cause
    assert "lock" in advice('UPDATE "shop_item" SET "stock" = %s WHERE "shop_item"."name" = %s', error)
