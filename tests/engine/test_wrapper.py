"""A span around a call of every kind, without a trace of it in what the caller sees."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import inspect
import logging
import sys
import traceback
import types
import warnings

import pytest
from opentelemetry import trace as otel
from opentelemetry.trace import StatusCode

from clew.engine import isolation, wrapper_source
from clew.engine.wrapper import Around, UnknownParameterError
from clew.spans.scope import Scope

SCOPE = Scope("tests.core")
RECORDED, UNSAMPLED = types.SimpleNamespace(is_recording=True), types.SimpleNamespace(is_recording=False)


@pytest.fixture
def root(trace):
    with otel.get_tracer("tests").start_as_current_span("root"):
        yield trace


def note(opened, error, result=None):
    opened.note("result", str(result))


traced = Around(lambda: SCOPE.open("call"), note)


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


@pytest.mark.parametrize("error", [None, ValueError("mine")])
def test_what_was_opened_is_closed_whatever_the_hook_wants(error):
    """A `close` that asks for no error is called after one all the same: a token it resets would stay."""
    told = []
    whole = types.SimpleNamespace(is_lazy=False)
    around = Around(lambda: whole, lambda: told.append("noted"), close=lambda opened: told.append(opened))

    @around
    def call():
        if error:
            raise error

    @around
    def generate():
        yield
        if error:
            raise error

    for made in (call, lambda: list(generate())):
        with contextlib.suppress(ValueError):
            made()
    assert told == ([whole, whole] if error else ["noted", whole, "noted", whole])


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

    def opening():
        raise RuntimeError("ours")

    def noting(opened, error):
        raise RuntimeError("ours too")

    assert Around(opening)(lambda: 1)() == 1
    assert Around(lambda: SCOPE.open("call"), noting)(lambda: 2)() == 2
    assert caplog.text.count("internal error") == 1, "said once for each place"
    assert root.named("call")


def test_nothing_is_opened_where_nothing_is_recorded(trace):
    assert traced(lambda: 1)() == 1
    assert trace.spans == ()


def deprecated(a, b=1, /, *rest, c=2, **more):
    warnings.warn("old", DeprecationWarning, stacklevel=2)
    return (a, b, rest, c, more)


@pytest.mark.parametrize(("state", "is_opened"), [(None, True), (RECORDED, True), (UNSAMPLED, False)])
def test_nothing_is_opened_where_the_state_is_not_recorded(state, is_opened):
    said = []
    around = Around(
        lambda state: said.append(state) or True, close=lambda error: said.append(error), state=lambda: state
    )
    error = ValueError("mine")

    @around
    def call():
        raise error

    with pytest.raises(ValueError, match="mine") as raised:
        call()
    assert said == ([state, error] if is_opened else [])
    shown = [entry.name for entry in traceback.extract_tb(raised.value.__traceback__)]
    assert shown[-1] == "call"
    assert sys.version_info < (3, 11) or "wrapper" not in shown


def test_what_the_caller_gave_is_passed_on_and_defaults_stay_the_originals():
    wrapper = Around(lambda a: None)(deprecated)
    assert inspect.signature(wrapper) == inspect.signature(deprecated)
    assert wrapper.__defaults__ is deprecated.__defaults__
    with pytest.warns(DeprecationWarning, match="old"):
        assert wrapper(1, 2, 3, c=4, d=5) == (1, 2, (3,), 4, {"d": 5})
    with pytest.raises(TypeError, match=r"deprecated\(\) missing 1 required positional argument: 'a'"):
        wrapper()


def test_hooks_are_given_what_they_name():
    seen = []

    def call(self, sql, params=None, *args, many=False, **options):
        return "result"

    wrapper = Around(
        lambda compiler, /, many, params, caller, positional, keywords, absent="default": seen.append(
            (compiler, many, params, caller.f_code.co_name, positional, keywords, absent)
        )
    )(call)
    assert wrapper(0, "q", 1, 2, many=True, x=3) == "result"
    name = "test_hooks_are_given_what_they_name"
    assert seen == [(0, True, 1, name, (0, "q", 1, 2), {"many": True, "x": 3}, "default")]
    with pytest.raises(UnknownParameterError, match=r"call has no parameter 'chunk_size'"):
        Around(lambda chunk_size: None)(call)


def test_parameters_of_a_function_that_somebody_has_wrapped_are_found():
    def call(self, sql, params=7):
        return sql

    @functools.wraps(call)
    def by_somebody(*args, **kwargs):
        return call(*args, **kwargs)

    seen = []
    wrapper = Around(lambda cursor, /, sql, params: seen.append((cursor, sql, params)))(by_somebody)
    assert (wrapper(0, "a"), wrapper(0, sql="b", params=1)) == ("a", "b")
    assert seen == [(0, "a", 7), (0, "b", 1)]


def test_parameters_are_found_below_a_wrapper_that_does_not_say_what_it_wraps():
    def publish(self, body, routing_key=None):
        return body

    def by_sentry(original):
        def sentry_publish(self, *args, **kwargs):
            return original(self, *args, **kwargs)

        return sentry_publish

    seen = []
    wrapper = Around(lambda producer, /, body, routing_key: seen.append((body, routing_key)))(by_sentry(publish))
    assert (wrapper(0, "a"), wrapper(0, body="b", routing_key="mail")) == ("a", "b")
    assert seen == [("a", None), ("b", "mail")]
    with pytest.raises(UnknownParameterError):
        Around(change={"body": lambda body: body})(by_sentry(publish))


def by_cachalot(original):
    @functools.wraps(original)
    def inner(compiler, *args, **kwargs):
        return original(compiler, *args, **kwargs)

    return inner


def without_a_name(original):
    return lambda *args, **kwargs: original(*args, **kwargs)


def by_another_name(original):
    return lambda this, *args, **kwargs: original(this, *args, **kwargs)


@pytest.mark.parametrize("by_somebody", [by_cachalot, without_a_name, by_another_name])
def test_the_object_of_a_method_is_found_whatever_somebodys_wrapper_calls_it(by_somebody):
    def execute_sql(self, result_type=None):
        return "rows"

    seen = []
    wrapper = Around(replace=lambda cursor, /, result: seen.append(cursor) or result)(by_somebody(execute_sql))
    assert (wrapper(0, "multi"), seen) == ("rows", [0])


def test_a_changed_argument_a_replaced_result_and_a_call_that_is_not_made():
    def call(a, b=2):
        return a, b

    assert Around(change={"b": lambda b: b + 1}, replace=lambda result: [*result])(call)(1) == [1, 3]
    instead = Around(instead=lambda a: "none" if a == 0 else NotImplemented)(call)
    assert (instead(0), instead(1)) == ("none", (1, 2))


@pytest.mark.parametrize("times", [1, 3])
def test_a_warning_names_the_applications_line(times):
    wrapper = functools.reduce(lambda wrapped, _: Around(lambda a: None)(wrapped), range(times), deprecated)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        wrapper(1)
        line = inspect.currentframe().f_lineno - 1
    assert [(each.filename, each.lineno) for each in caught] == [(__file__, line)]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="warn() has skip_file_prefixes from Python 3.12 on")
def test_a_warning_that_skips_the_librarys_files_names_the_applications_line():
    library = {"__name__": "library"}
    source = "import warnings\ndef old(a): warnings.warn('old', skip_file_prefixes=('/library',))"
    exec(compile(source, "/library/code.py", "exec"), library)
    wrapper = Around(lambda a: None)(library["old"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        wrapper(1)
        line = inspect.currentframe().f_lineno - 1
    assert [(each.filename, each.lineno) for each in caught] == [(__file__, line)]


def test_a_warning_made_an_error_for_the_applications_module_is_raised():
    wrapper = traced(deprecated)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", category=DeprecationWarning, module=__name__.replace(".", r"\."))
        with pytest.raises(DeprecationWarning):
            wrapper(1)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="logging counts every frame before Python 3.11")
def test_a_log_record_with_a_stack_level_names_the_applications_line(caplog):
    def old():
        logging.getLogger("library").warning("old", stacklevel=2)

    Around(lambda: None)(Around(lambda: None)(old))()
    line = inspect.currentframe().f_lineno - 1
    assert [(each.pathname, each.lineno) for each in caplog.records] == [(__file__, line)]


@dataclasses.dataclass(frozen=True)
class FrozenError(Exception):
    """Refuses to have attributes set, its traceback too."""

    code: int


@pytest.mark.parametrize("error", [ValueError("mine"), FrozenError(1), KeyboardInterrupt()])
def test_tracebacks_do_not_show_the_wrapper(root, error):
    def raising():
        raise error

    async def raising_async():
        raise error

    for call in (traced(traced(raising)), lambda: asyncio.run(traced(raising_async)())):
        with pytest.raises(type(error)) as raised:
            call()
        assert raised.value is error
        files = [frame.filename for frame in traceback.extract_tb(raised.tb)]
        assert files[0] == files[-1] == __file__
        if sys.version_info >= (3, 11):
            assert wrapper_source.FILE_NAME not in files


def test_one_wrapper_generated_for_many_functions():
    around, seen = Around(lambda positional, callback: seen.append((positional, callback))), []
    made = [around.quickly(call, is_generic=True, callback=call) for call in (abs, int)]
    assert [call(-1) for call in made] == [1, -1]
    assert seen == [((-1,), abs), ((-1,), int)]
    assert made[0].__code__ is made[1].__code__
