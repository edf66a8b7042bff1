"""Findings about caches: keys one by one, a key again and again, large values, stampedes; what is none of these."""

from __future__ import annotations

import threading

import pytest
from django.core.cache import caches
from django.template import Context, Template
from django.test import override_settings
from opentelemetry import trace as otel

from clew.testing import tracing

REDIS = {
    "BACKEND": "django.core.cache.backends.redis.RedisCache",
    "LOCATION": "redis://127.0.0.1:6379/10",
    "KEY_PREFIX": "clew-tests",
}
MEMORY = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "findings"}


@pytest.fixture
def cache(request):
    is_remote = request.node.get_closest_marker("redis") is not None
    with override_settings(CACHES={"default": REDIS if is_remote else MEMORY}):
        caches["default"].clear()
        yield caches["default"]
        caches["default"].clear()


@pytest.fixture
def trace():
    with tracing() as captured:
        yield captured


def root(name="root"):
    return otel.get_tracer("tests").start_as_current_span(name)


def found(trace):
    for each in trace.findings:
        each.attributes()
    return [(each.type, each.message.partition(" (")[0]) for each in trace.findings]


@pytest.mark.redis
def test_detects_a_get_in_a_loop_and_its_fix_mends_it(trace, cache):
    cache.set_many({f"price:{number}": number for number in range(20)})
    with root():
        prices = [cache.get(f"price:{number}") for number in range(20)]
    assert found(trace) == [("cache_get_in_loop", "20 keys 'price:{}' are asked of cache 'default' one by one")]
    (finding,) = trace.findings
    assert finding.fix == "ask for all of them at once, before the loop: cache.get_many(keys)"
    assert finding.site.line == test_detects_a_get_in_a_loop_and_its_fix_mends_it.__code__.co_firstlineno + 4
    trace.clear()
    keys = [f"price:{number}" for number in range(20)]
    with root():
        at_once = cache.get_many(keys)
        assert [at_once[key] for key in keys] == prices
    assert found(trace) == []


FRAGMENTS = "{% load cache %}{% for each in names %}{% cache 60 price each %}{{ each }}{% endcache %}{% endfor %}"
AROUND = "{% load cache %}{% cache 60 prices %}{% for each in names %}{{ each }}{% endfor %}{% endcache %}"


@pytest.mark.redis
def test_fragments_of_a_template_are_cached_around_the_loop(trace, cache):
    with root():
        shown = Template(FRAGMENTS).render(Context({"names": list("abcdefgh")}))
    (finding,) = trace.findings
    assert (finding.type, finding.fix[:43]) == ("cache_get_in_loop", "put one {% cache %} around the loop in plac")
    trace.clear()
    with root():
        assert Template(AROUND).render(Context({"names": list("abcdefgh")})) == shown
    assert found(trace) == []


def flag(cache, name):
    return cache.get(f"flag:{name}")


@pytest.mark.redis
def test_no_false_positive_lines_of_their_own(trace, cache):
    with root():
        flag(cache, "a1")
        flag(cache, "b2")
        flag(cache, "c3")
        flag(cache, "d4")
        flag(cache, "e5")
        flag(cache, "f6")
    assert found(trace) == []


def test_no_false_positive_in_the_processes_memory(trace, cache):
    with root():
        for number in range(50):
            cache.get(f"price:{number}")
            cache.get("one")
    assert found(trace) == []


@pytest.mark.redis
def test_detects_a_hot_key(trace, cache):
    cache.set("settings", {"a": 1})
    with root():
        for _ in range(12):
            assert cache.get("settings") == {"a": 1}
    assert found(trace) == [("hot_cache_key", "cache 'default' is asked 12 times for one key, 'settings'")]


@pytest.mark.redis
def test_several_lines_that_ask_for_one_key_are_told(trace, cache):
    cache.set("settings", 1)

    def first():
        return cache.get("settings")

    def second():
        return cache.get("settings")

    with root():
        for _ in range(6):
            first()
            second()
    (finding,) = trace.findings
    finding.attributes()
    here, line = "detectors/test_cache.py", first.__code__.co_firstlineno + 1
    assert finding.message.endswith(f" ms, from {here}:{line} and {here}:{line + 3})")
    assert finding.site.line == line


@pytest.mark.redis
def test_no_false_positive_a_key_that_is_polled_for_or_written(trace, cache):
    with root():
        for _ in range(12):
            cache.get("result")
        for number in range(12):
            cache.set("progress", number)
            cache.get("progress")
    assert found(trace) == []


@pytest.mark.redis
def test_detects_a_large_value(trace, cache):
    with root():
        cache.set("report:7", "x" * 600_000)
    ((kind, message),) = found(trace)
    assert (kind, message) == ("oversized_cache_value", "set 'report:{}' of cache 'default' moves 586 KiB")
    assert len(trace.named("cache set default").events) == 1


@pytest.mark.redis
def test_no_false_positive_a_usual_value(trace, cache):
    with root():
        cache.set("report", "x" * 100_000)
        assert len(cache.get("report")) == 100_000
    assert found(trace) == []


def together(cache, count, compute):
    """Each in a thread and under a root of its own; all have missed before the first one stores."""
    missed = threading.Barrier(count)

    def work():
        with root():
            compute(cache, missed)

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_detects_a_stampede(trace, cache):
    def compute(cache, missed):
        if cache.get("front") is None:
            missed.wait()
            cache.set("front", "page")

    together(cache, 3, compute)
    said = "3 requests or tasks of this process missed 'front' of cache 'default' at the same time, and each computed"
    assert found(trace) == [("cache_stampede", f"{said} it")] * 2


def test_no_false_positive_one_computes_and_the_others_wait(trace, cache):
    lock = threading.Lock()

    def compute(cache, missed):
        if cache.get("front") is None:
            missed.wait()
            with lock:
                if cache.get("front") is None:
                    cache.set("front", "page")

    together(cache, 3, compute)
    assert found(trace) == []


def test_no_false_positive_one_after_the_other(trace, cache):
    for _ in range(3):
        with root():
            if cache.get("front") is None:
                cache.set("front", "page")
            cache.delete("front")
    assert found(trace) == []
