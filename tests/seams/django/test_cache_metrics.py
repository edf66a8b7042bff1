"""`clew.cache.lookups`: hits and misses by alias and template of the key, of sampled requests and others."""

from __future__ import annotations

import asyncio

import pytest
from django.core.cache import cache, caches
from django.http import HttpResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import path
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

from clew.engine import metric
from clew.engine.series import OTHER
from clew.spans import scope
from clew.story import cache_operation
from clew.testing import tracing
from tests.metered import reader, values  # noqa: F401 - a fixture

CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "metered"},
    "second": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "metered-2"},
}
LOOKUPS = "clew.cache.lookups"


def sync(request):
    cache.clear()
    for number in range(5):
        cache.get(f"user_{number % 3}")
        cache.set(f"user_{number % 3}", number)
    cache.get_many([f"user_{number}" for number in range(4)])
    cache.get_or_set("menu", list)
    caches["second"].get("menu")
    "menu" in cache  # noqa: B015 - asks the cache
    try:
        caches["second"].incr("visits")
    except ValueError:
        cache.delete("menu")
    return HttpResponse()


async def asynchronous(request):
    await cache.aset("user_1", 1)
    await cache.aget("user_1")
    await cache.aget("user_2")
    await cache.aget_many(["user_1", "user_2"])
    await cache.aget_or_set("menu_a", list)
    return HttpResponse()


urlpatterns = [path("sync/", sync), path("async/", asynchronous)]


@pytest.fixture(autouse=True)
def site():
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[], CACHES=CACHES):
        yield
        cache.clear()


@pytest.mark.parametrize("sampler", [ALWAYS_ON, ALWAYS_OFF], ids=["sampled", "unsampled"])
def test_hits_and_misses_of_a_request(reader, sampler, monkeypatch):  # noqa: F811
    with tracing():
        monkeypatch.setattr(scope.pipeline().provider, "sampler", sampler)
        Client().get("/sync/")
    assert values(reader, LOOKUPS) == {
        ("False", "default", "user_{}"): 4,
        ("True", "default", "user_{}"): 5,
        ("False", "default", "menu"): 1,
        ("True", "default", "menu"): 1,
        ("False", "second", "menu"): 1,
        ("False", "second", "visits"): 1,
    }


@pytest.mark.parametrize("sampler", [ALWAYS_ON, ALWAYS_OFF], ids=["sampled", "unsampled"])
def test_of_async_code(reader, sampler, monkeypatch):  # noqa: F811
    with tracing():
        monkeypatch.setattr(scope.pipeline().provider, "sampler", sampler)
        asyncio.run(AsyncClient().get("/async/"))
    assert values(reader, LOOKUPS) == {
        ("False", "default", "user_{}"): 2,
        ("True", "default", "user_{}"): 2,
        ("False", "default", "menu_a"): 1,
    }


def test_more_templates_than_a_request_may_have_are_other(reader, monkeypatch):  # noqa: F811
    monkeypatch.setattr(cache_operation, "MAX_SERIES", 1)
    with tracing():
        Client().get("/sync/")
    assert {key[2] for key in values(reader, LOOKUPS)} == {"user_{}", OTHER}


def test_without_a_meter_provider_nothing_is_counted():
    with tracing():
        Client().get("/sync/")
    assert metric.METRICS[LOOKUPS]._record is None
