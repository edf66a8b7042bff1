"""The corpus' kinds in an async view and on PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group
from django.db import IntegrityError, transaction
from django.http import HttpResponse
from django.test import AsyncClient, override_settings
from django.urls import path

from tests.detectors.others import rollbacks
from tests.detectors.shared import found
from tests.seams.django.test_transaction import postgres, served  # noqa: F401

pytestmark = [pytest.mark.urls("tests.seams.django.test_transaction"), pytest.mark.django_db(transaction=True)]
TYPE = rollbacks.TYPE
logger = logging.getLogger("shop")
place = sync_to_async(rollbacks.place)


def asked(body):
    async def view(request):
        return await body() or HttpResponse("ok")

    urls = type("urls", (), {"urlpatterns": [path("run/", view)]})
    with override_settings(ROOT_URLCONF=urls, MIDDLEWARE=[]):
        return asyncio.run(AsyncClient().get("/run/"))


def test_detects_what_an_async_view_swallows(trace):
    async def body():
        try:
            await place("a")
        except Exception:
            logger.exception("no")

    assert asked(body).status_code == 200
    (finding,) = found(trace, TYPE)
    assert finding.site.function.endswith("place")


def test_no_false_positive_for_what_an_async_view_handles(trace):
    async def body():
        try:
            await place("a")
        except rollbacks.PaymentError as error:
            return HttpResponse(f"try another card: {error}")

    async def tried_again():
        for attempt in range(2):
            try:
                await place("a", should_fail=not attempt)
                break
            except rollbacks.PaymentError:
                logger.warning("again")

    asked(body)
    asked(tried_again)
    assert found(trace, TYPE) == []


def insert(cursor, table, number):
    cursor.execute(f"INSERT INTO {table} (id) VALUES (%s)", [number])


@pytest.mark.postgres
def test_detects_it_on_postgresql(trace, postgres):  # noqa: F811
    pg, table = postgres

    def view():
        for number in (1, 2):
            try:
                with transaction.atomic("pg"), pg.cursor() as cursor:
                    insert(cursor, table, number)
                    rollbacks.charge(number == 1)
            except rollbacks.PaymentError:
                logger.exception("order %s", number)

    served(view)
    (finding,) = found(trace, TYPE)
    assert finding.message.startswith("a transaction of 'pg' was rolled back by ")


@pytest.mark.postgres
def test_no_false_positive_on_postgresql(trace, postgres):  # noqa: F811
    pg, table = postgres

    def there_already():
        with pg.cursor() as cursor:
            insert(cursor, table, 1)
        with contextlib.suppress(IntegrityError), transaction.atomic("pg"), pg.cursor() as cursor:
            insert(cursor, table, 2)
            insert(cursor, table, 1)

    def tried_again():
        for attempt in range(2):
            with contextlib.suppress(rollbacks.PaymentError), transaction.atomic("pg"), pg.cursor() as cursor:
                insert(cursor, table, 3)
                rollbacks.charge(not attempt)

    def changed_nothing():
        with contextlib.suppress(rollbacks.PaymentError), transaction.atomic("pg"), pg.cursor() as cursor:
            cursor.execute(f"UPDATE {table} SET up = NULL WHERE id = 4711")
            rollbacks.charge()

    def probed():
        with transaction.atomic("pg"), pg.cursor() as cursor:
            insert(cursor, table, 4)
            with contextlib.suppress(IntegrityError), transaction.atomic("pg"):
                insert(cursor, table, 4)

    for view in (there_already, tried_again, changed_nothing, probed):
        assert served(view).status_code == 200
    assert found(trace, TYPE) == []
    assert Group.objects.count() == 0
