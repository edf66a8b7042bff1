"""A span around a call of every kind, without a trace of it in what the caller sees."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from opentelemetry import trace as otel
from opentelemetry.trace import StatusCode

from clew.core.around import around
from clew.core.spans import Scope
from clew.engine import isolation

SCOPE = Scope("tests.core")


@pytest.fixture
def root(trace):
    with otel.get_tracer("tests").start_as_current_span("root"):
        yield trace


traced = around(lambda args, kwargs: SCOPE.open("call"), lambda span, result, error: span.note("result", str(result)))


def test_sync(root):
    seen = []

    @traced
    def call(a, *, b):
        seen.append(otel.get_current_span().name)
        return a + b

    assert call(1, b=2) == 3
    assert seen == ["call"]
    assert root.named("call").attributes["result"] == "3"
    assert otel.get_current_span().name == "root"


def test_the_very_same_exception(root):
    error = ValueError("mine")

    @traced
    def call():
        raise error

    with pytest.raises(ValueError, match="mine") as raised:
        call()
    assert raised.value is error
    span = root.named("call")
    assert (span.status.status_code, len(span.events)) == (StatusCode.ERROR, 1)


def test_async_and_its_cancellation(root):
    @traced
    async def call():
        await asyncio.sleep(60)

    async def cancel():
        task = asyncio.ensure_future(call())
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    span = root.named("call")
    assert (span.status.status_code, span.attributes["clew.cancelled"]) == (StatusCode.UNSET, True)


def test_generator_is_current_only_while_it_runs(root):
    @traced
    def numbers():
        got = []
        for number in range(2):
            assert otel.get_current_span().name == "call"
            got.append((yield number))
        return got

    generator = numbers()
    assert next(generator) == 0
    assert otel.get_current_span().name == "root"
    assert generator.send("a") == 1
    with pytest.raises(StopIteration) as stop:
        generator.send("b")
    assert stop.value.value == ["a", "b"]
    assert root.named("call").status.status_code is StatusCode.UNSET


def test_generator_is_thrown_into_and_closed(root):
    closed = []

    @contextlib.contextmanager
    @traced
    def managed():
        try:
            yield "managed"
        except ValueError:
            closed.append("handled")
        finally:
            closed.append("closed")

    with managed():
        raise ValueError
    assert closed == ["handled", "closed"]
    assert root.named("call")


def test_async_generator(root):
    @traced
    async def numbers():
        for number in range(3):
            assert otel.get_current_span().name == "call"
            yield number

    async def read():
        return [number async for number in numbers()]

    assert asyncio.run(read()) == [0, 1, 2]
    assert root.named("call")


def test_an_error_of_ours_does_not_reach_the_application(root, caplog):
    isolation.is_strict = False

    def opening(args, kwargs):
        raise RuntimeError("ours")

    def noting(span, result, error):
        raise RuntimeError("ours too")

    assert around(opening)(lambda: 1)() == 1
    assert around(lambda args, kwargs: SCOPE.open("call"), noting)(lambda: 2)() == 2
    assert caplog.text.count("internal error") == 1, "said once for each place"
    assert root.named("call")


def test_nothing_is_opened_where_nothing_is_recorded(trace):
    assert traced(lambda: 1)() == 1
    assert trace.spans == ()
