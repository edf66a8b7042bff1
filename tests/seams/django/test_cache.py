"""Caches: the tree, hit or miss, keys as templates, the untouched result; real Redis beside those in memory."""

from __future__ import annotations

import asyncio
import pickle
from collections import OrderedDict, deque

import pytest
import redis
from django.core.cache import CacheKeyWarning, caches
from django.core.cache.backends.locmem import LocMemCache
from django.core.management import call_command
from django.db import connection
from django.http import HttpResponse
from django.test import Client, override_settings
from django.urls import path
from opentelemetry import trace as otel

from clew.seams.django.cache.key_template import key_template
from clew.testing import tracing
from tests.seams.django.test_template import below_view

REDIS_CACHE = "django.core.cache.backends.redis.RedisCache"
# Of its own: it is emptied by FLUSHDB, and database 9 is the brokers of other tests.
REDIS = "redis://127.0.0.1:6379/13"
HIT, KEY, COUNT = "cache.hit", "django.cache.key", "clew.folded.count"
SUMS = ("clew.cache.operation_count", "clew.cache.hits", "clew.cache.misses")


class Tiered(LocMemCache):
    """A site's own: what it asks of itself is part of what it was asked, what it asks of another cache is not."""

    def get(self, key, default=None, version=None):
        found = super().get(key, version=version)
        return caches["memory"].get(key, default) if found is None else found


@pytest.fixture(autouse=True)
def _caches(request, tmp_path):
    made = {
        "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "default"},
        "memory": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "memory"},
        "redis": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": REDIS,
            "KEY_PREFIX": "clew-tests",
        },
        "down": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://127.0.0.1:1/0"},
        "table": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "clew_cache"},
        "files": {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache", "LOCATION": str(tmp_path)},
        "dummy": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"},
        "tiered": {"BACKEND": f"{__name__}.Tiered", "LOCATION": "tiered"},
    }
    with override_settings(CACHES=made):
        caches["default"].clear()
        caches["memory"].clear()
        if request.node.get_closest_marker("redis"):
            caches["redis"].clear()
        yield


@pytest.fixture
def trace():
    with tracing() as captured:
        yield captured


def root():
    return otel.get_tracer("tests").start_as_current_span("root")


def below_root(trace, *attributes):
    return [line[2:] for line in trace.tree(*attributes).splitlines() if line.startswith("  ")]


def sums(trace):
    held = trace.named("root").attributes
    return [held.get(name) for name in SUMS]


def test_hit_and_miss(trace):
    cache = caches["default"]
    with root():
        assert cache.get("user_1") is None
        cache.set("user_1", "alice", 60)
        assert cache.get("user_1") == "alice"
    assert below_root(trace, HIT, KEY) == [
        "CLIENT cache get default hit=False key=user_{}",
        "CLIENT cache set default key=user_{}",
        "CLIENT cache get default hit=True key=user_{}",
    ]
    assert sums(trace) == [3, 1, 1]
    stored = dict(trace.named("cache set default").attributes)
    assert stored.pop("code.file.path") == __file__
    assert stored.pop("code.line.number") == test_hit_and_miss.__code__.co_firstlineno + 4
    assert stored == {
        "django.cache.alias": "default",
        "django.cache.backend": "django.core.cache.backends.locmem.LocMemCache",
        "django.cache.operation": "set",
        "django.cache.key": "user_{}",
        "django.cache.ttl_s": 60,
        "django.cache.size_bytes": len(pickle.dumps("alice", pickle.HIGHEST_PROTOCOL)),
        "code.function.name": stored["code.function.name"],
    }


def rows(request):
    return HttpResponse(str([caches["default"].get(f"row:{number}") for number in range(8)]))


urlpatterns = [path("rows/", rows)]


@pytest.mark.urls(__name__)
def test_equal_ones_are_one_span(trace):
    caches["default"].set_many({f"row:{number}": number for number in range(5)})
    assert Client().get("/rows/").content == b"[0, 1, 2, 3, 4, None, None, None]"
    assert trace.named("GET rows/").attributes["clew.cache.hits"] == 5
    assert below_view(trace, HIT, KEY, COUNT).splitlines() == [
        "CLIENT cache get default hit=True key=row:{} count=5",
        "CLIENT cache get default hit=False key=row:{} count=3",
    ]


def every_operation(cache):
    return [
        cache.set("a", 1),
        cache.add("a", 2),
        cache.add("b", 3, timeout=None),
        cache.touch("b", 10),
        cache.incr("a"),
        cache.has_key("a"),
        "c" in cache,
        sorted(cache.get_many(["a", "b", "c"]).items()),
        cache.set_many({"d": 4, "e": 5}, 5),
        cache.get_or_set("f", lambda: 6),
        cache.delete("a"),
        cache.delete_many(key for key in ("b", "d")),
        cache.get("d", default="none"),
        cache.clear(),
    ]


RESULTS = [None, False, True, True, 2, True, False, [("a", 2), ("b", 3)], [], 6, True, None, "none", None]
STORED, KEYS, HITS, MISSES = (
    "django.cache.stored",
    "django.cache.key_count",
    "django.cache.hits",
    "django.cache.misses",
)


@pytest.mark.redis
def test_every_operation_over_redis(trace):
    with root():
        assert every_operation(caches["redis"])[:-1] == RESULTS[:-1]
    found = [line.removeprefix("CLIENT cache ") for line in below_root(trace, HIT, STORED, KEYS, HITS, MISSES)]
    assert found == [
        "set redis",
        "add redis stored=False",
        "add redis stored=True",
        "touch redis stored=True",
        "incr redis hit=True",
        "has_key redis hit=True",
        "has_key redis hit=False",
        "get_many redis key_count=3 hits=2 misses=1",
        "set_many redis key_count=2",
        "get redis hit=False",
        "add redis stored=True",
        "get redis",  # for what it has just stored, which is the default it gives, too
        "delete redis hit=True",
        "delete_many redis",
        "get redis hit=False",
        "clear redis",
    ]
    times = [span.attributes.get("django.cache.ttl_s") for span in trace.spans if span.name == "cache add redis"]
    assert times == [300, -1, 300]


COLLECTIONS = [
    ["a", "b", "c"],
    ("a", "b", "c"),
    {"a", "b", "c"},
    {"a": 1, "b": 2, "c": 3},
    {"a": 1, "b": 2, "c": 3}.keys(),
    {1: "a", 2: "b", 3: "c"}.values(),
    OrderedDict(a=1, b=2, c=3).keys(),
    deque(["a", "b", "c"]),
]


@pytest.mark.redis
@pytest.mark.parametrize("keys", COLLECTIONS, ids=lambda keys: type(keys).__name__)
def test_misses_are_counted_whatever_holds_the_keys(trace, keys):
    cache = caches["redis"]
    cache.set("a", 1)
    with root():
        assert cache.get_many(keys) == {"a": 1}
        cache.set_many(dict.fromkeys(keys, 1))
        cache.delete_many(keys)
    held = dict(trace.named("cache get_many redis").attributes)
    assert (held[KEYS], held[HITS], held[MISSES]) == (3, 1, 2)
    assert sums(trace)[1:] == [1, 2]


@pytest.mark.redis
def test_keys_that_can_be_gone_through_once_are_left_to_the_cache(trace):
    caches["redis"].set("a", 1)
    with root():
        assert caches["redis"].get_many(key for key in ("a", "b")) == {"a": 1}
    assert below_root(trace, KEYS, HITS, MISSES) == ["CLIENT cache get_many redis hits=1"]


@pytest.mark.redis
def test_async_is_the_same(trace):
    async def ask():
        cache = caches["redis"]
        with root():
            await cache.aset("user_1", "alice")
            return await cache.aget("user_1"), await cache.aget("user_2", "nobody")

    assert asyncio.run(ask()) == ("alice", "nobody")
    assert below_root(trace, HIT, KEY, "code.line.number") == [
        f"CLIENT cache set redis key=user_{{}} number={test_async_is_the_same.__code__.co_firstlineno + 5}",
        f"CLIENT cache get redis hit=True key=user_{{}} number={test_async_is_the_same.__code__.co_firstlineno + 6}",
        f"CLIENT cache get redis hit=False key=user_{{}} number={test_async_is_the_same.__code__.co_firstlineno + 6}",
    ]


@pytest.mark.redis
def test_a_drivers_span_is_annotated_and_not_doubled(trace):
    instrumentor = pytest.importorskip("opentelemetry.instrumentation.redis").RedisInstrumentor()
    instrumentor.instrument()
    try:
        with root():
            caches["redis"].set("user_1", "alice")
            caches["redis"].get("user_1")
            redis.Redis.from_url(REDIS).get("other")
    finally:
        instrumentor.uninstrument()
    assert below_root(trace, "django.cache.operation", KEY) == [
        "CLIENT SET operation=set key=user_{}",
        "CLIENT GET operation=get key=user_{}",
        "CLIENT GET",
    ]
    assert sums(trace) == [2, 1, 0]


def test_a_cache_that_is_down_says_so_once(trace):
    with root():
        for _ in range(3):
            with pytest.raises(redis.ConnectionError):
                caches["down"].get("a")
    assert below_root(trace, "error.type") == ["CLIENT cache get down ERROR type=redis.exceptions.ConnectionError"]
    assert trace.named("root").attributes["clew.cache.errors"] == 3


def test_a_key_that_is_not_there_is_no_error(trace):
    with root(), pytest.raises(ValueError, match="not found"):
        caches["default"].incr("counter")
    assert below_root(trace, HIT) == ["CLIENT cache incr default hit=False"]


@pytest.mark.django_db
def test_what_a_database_cache_asks_is_below_it(trace):
    call_command("createcachetable", "clew_cache", database="default", verbosity=0)
    try:
        with root():
            caches["table"].get("nobody_has_set_this")
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE clew_cache")
    assert below_root(trace, HIT) == ["CLIENT cache get table hit=False", "  CLIENT SELECT clew_cache"]


@pytest.mark.parametrize("alias", ["files", "dummy"])
def test_others(trace, alias):
    with root():
        caches[alias].set("a", 1)
        found = caches[alias].get("a")
    assert found == (1 if alias == "files" else None)
    assert below_root(trace, HIT) == [f"CLIENT cache set {alias}", f"CLIENT cache get {alias} hit={alias == 'files'}"]


def test_a_sites_own_backend(trace):
    caches["memory"].set("a", 1)
    with root():
        assert caches["tiered"].get("a") == 1
    assert below_root(trace, HIT) == ["CLIENT cache get tiered hit=True", "  CLIENT cache get memory hit=True"]


def test_a_warning_names_the_applications_line():
    with tracing(), root(), pytest.warns(CacheKeyWarning) as caught:
        caches["default"].get("with space")
    assert len(caught) == 1


def test_undone():
    before = vars(LocMemCache)["get"]
    with tracing(), root():
        caches["default"].get("a")
        assert vars(LocMemCache)["get"] is not before
    assert vars(LocMemCache)["get"] is before


def test_unsampled_and_outside_of_a_request_nothing_is_recorded(trace):
    caches["default"].set("a", 1)
    assert caches["default"].get("a") == 1
    assert trace.spans == ()


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("user_42", "user_{}"),
        ("user_alice", "user_{}"),
        ("user:alice@example.com:cart", "user:{}:cart"),
        ("cart/5f3c2a9e-0b7d-4c55-9a75-8d1f2b3c4d5e", "cart/{}"),
        ("profile:1:2", "profile:{}:{}"),
        ("s3cr3t", "{}"),
        ("ключ:1", "{}:{}"),
        ("", "{}"),
        (b"user", "{}"),
        (7, "{}"),
    ],
)
def test_key_templates(key, told):
    assert key_template(key, _asking()) == told


def _asking():
    """What the code that asks holds as literals."""
    namespace = {"__name__": "site.keys"}
    exec(
        "import sys\ndef ask(x=0):\n    x = 'user_', 'cart', f'profile:{x}', 'a'\n    return sys._getframe()", namespace
    )
    return namespace["ask"]()
