"""The source text of a wrapper, from the live signature of what it wraps and what the hooks want of a call."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

from clew.engine.annotations import signature

# `warnings` and `logging` look through frames whose file name holds both words; no other name may be a parameter's.
FILE_NAME = "<clew wrapper: importlib _bootstrap>"
SPECIAL = {
    "opened": "_clew_opened",
    "result": "_clew_result",
    "error": "_clew_error",
    "caller": "_clew_frame(1)",
    "original": "_clew_original",
    "state": "_clew_state",
}
_HIDDEN = "__traceback_hide__ = True"
_RETRACE = "_clew_retrace(_clew_error, _clew_error.__traceback__.tb_next)"
_VARARGS, _VARKEYWORDS = inspect.CO_VARARGS, inspect.CO_VARKEYWORDS


def close_span(opened: Any, error: BaseException | None) -> None:
    """What most seams do at the end: close the span that `open` gave."""
    opened.close(error)


class UnknownParameterError(AttributeError):
    """A hook wants a parameter that the function of this version does not have."""


@dataclass(frozen=True)
class Plan:
    """The hooks of one place; see `wrapper.Around`."""

    open: Callable[..., Any] | None
    note: Callable[..., Any] | None
    close: Callable[..., Any] | None
    instead: Callable[..., Any] | None
    change: dict[str, Callable[..., Any]]
    replace: Callable[..., Any] | None
    state: Callable[[], Any] | None = None

    @functools.cached_property
    def hooks(self) -> tuple[Callable[..., Any] | None, ...]:
        """In the order in which a factory takes them."""
        return (self.open, self.note, self.close, self.instead, self.replace, self.state, *self.change.values())


class Call:
    """How the wrapper is called, and passes the call on.

    Args:
        original: the function.
        kind: sync, async, generator, async generator.
        is_generic: take and pass on `*args, **kwargs`.
        bound: names that the seam gives its hooks besides.
    """

    def __init__(self, original: Any, kind: str, *, is_generic: bool, bound: tuple[str, ...]) -> None:
        self.kind, self.bound = kind, bound
        self.where = f"{getattr(original, '__module__', '?')}.{getattr(original, '__qualname__', original)}"
        self._read: dict[str, str] = {}
        self.defaults: dict[str, Any] = {}
        self.first = ""
        code = getattr(original, "__code__", None)
        if isinstance(original, FunctionType) and isinstance(code, CodeType) and not is_generic:
            self._as_declared(code)
        else:
            self.parameters = self.passed = "*_clew_args, **_clew_kwargs"
            self.positional, self.keywords = "_clew_args", "_clew_kwargs"
        self.below = _held_by(original) if self._has_only_variadic and not hasattr(original, "__wrapped__") else None
        if self.below is not None:
            self._as_described(self.below)
        elif self.positional == "_clew_args" or (self._has_only_variadic and hasattr(original, "__wrapped__")):
            self._as_described(original)

    def _as_declared(self, code: CodeType) -> None:
        names = code.co_varnames
        plain, keyword_only = names[: code.co_argcount], names[code.co_argcount :][: code.co_kwonlyargcount]
        rest = list(names[code.co_argcount + code.co_kwonlyargcount :])
        stars = f"*{rest.pop(0)}" if code.co_flags & _VARARGS else ""
        double = f"**{rest[0]}" if code.co_flags & _VARKEYWORDS else ""
        head = [*plain[: code.co_posonlyargcount], "/"] if code.co_posonlyargcount else []
        bare = ["*"] if keyword_only and not stars else []
        declared = [*head, *plain[code.co_posonlyargcount :], stars, *bare, *keyword_only, double]
        self.parameters = ", ".join(filter(None, declared))
        named = [f"{name}={name}" for name in keyword_only]
        self.passed = ", ".join(filter(None, [*plain, stars, *named, double]))
        self.positional = f"({''.join(f'{each}, ' for each in filter(None, [*plain, stars]))})"
        self.keywords = f"{{{', '.join(filter(None, [*(f'{name!r}: {name}' for name in keyword_only), double]))}}}"
        self._read = {
            name: name for name in (*plain, *keyword_only, *(star.lstrip("*") for star in (stars, double) if star))
        }
        self.first = plain[0] if plain else ""
        self._has_only_variadic = bool(stars) and len(plain) <= 1
        self._args, self._kwargs = stars.lstrip("*"), double.lstrip("*")
        self._offset = len(plain)

    _has_only_variadic = False
    _args, _kwargs, _offset = "_clew_args", "_clew_kwargs", 0

    def _as_described(self, original: Any) -> None:
        """Of a function that takes anything (somebody's wrapper), what it says its parameters are."""
        try:
            parameters = list(signature(original).parameters.values())
        except (TypeError, ValueError):
            return
        for index, parameter in enumerate(parameters):
            if parameter.name in self._read or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            at, name = index - self._offset, parameter.name
            self.defaults[name] = None if parameter.default is parameter.empty else parameter.default
            default = f"_clew_defaults[{name!r}]"
            by_name = f"{self._kwargs}.get({name!r}, {default})" if self._kwargs else default
            if parameter.kind is parameter.KEYWORD_ONLY or not self._args or at < 0:
                self._read[name] = by_name
            else:
                self._read[name] = f"({self._args}[{at}] if len({self._args}) > {at} else {by_name})"
            if index == 0 and not self.first:
                self.first = name

    @property
    def called(self) -> str:
        """The call of the original."""
        return f"{'await ' if self.kind == 'async' else ''}_clew_original({self.passed})"

    def given(self, hook: Callable[..., Any]) -> str:
        """The arguments a hook is called with.

        Raises:
            UnknownParameterError: it wants what is not there.
        """
        passed, is_in_order = [], True
        for parameter in _parameters(hook).values():
            read = self._reading(parameter)
            if read is None:
                if parameter.default is parameter.empty:
                    raise UnknownParameterError(f"{self.where} has no parameter {parameter.name!r}")
                is_in_order = False
                continue
            by_position = is_in_order and parameter.kind is not parameter.KEYWORD_ONLY
            passed.append(read if by_position else f"{parameter.name}={read}")
        return ", ".join(passed)

    def _reading(self, wanted: inspect.Parameter) -> str | None:
        name = wanted.name
        if wanted.kind is wanted.POSITIONAL_ONLY:
            # Whatever it is called: somebody's wrapper need not say `self`, nor name it at all.
            return self._read[self.first] if self.first else f"({self._args}[0] if {self._args} else None)"
        if name in SPECIAL:
            return SPECIAL[name]
        if name in self.bound:
            return f"_clew_bound_{name}"
        if name in ("positional", "keywords"):
            return self.positional if name == "positional" else self.keywords
        return self._read.get(name)


def _held_by(wrapper: Any) -> FunctionType | None:
    """The only function that somebody's wrapper holds, where it does not say what it wraps (sentry's of kombu)."""
    try:
        held = [cell.cell_contents for cell in getattr(wrapper, "__closure__", None) or ()]
    except ValueError:  # a cell that is still empty
        return None
    functions = [each for each in held if type(each) is FunctionType]
    return functions[0] if len(functions) == 1 else None


def wants(hook: Callable[..., Any] | None, name: str) -> bool:
    """Whether a hook has a parameter of that name."""
    return hook is not None and name in _parameters(hook)


@functools.lru_cache(maxsize=500)
def _parameters(hook: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(hook).parameters


def text(plan: Plan, call: Call) -> str:
    """The source of a factory of wrappers.

    Raises:
        UnknownParameterError: a hook wants a parameter that the function does not have.
    """
    changed = [f"_clew_change_{name}" for name in plan.change]
    bound = [f"_clew_bound_{name}" for name in call.bound]
    hooks = ["_clew_open", "_clew_note", "_clew_close", "_clew_instead", "_clew_replace", "_clew_current", *changed]
    lines = [
        f"def _clew_factory({', '.join(['_clew_original', '_clew_hooks', '_clew_defaults', *bound])}):",
        f"    {', '.join(hooks)} = _clew_hooks",
        f"    {'async ' if call.kind.startswith('async') else ''}def wrapper({call.parameters}):",
        *(f"        {line}" for line in _body(plan, call)),
        "    return wrapper",
    ]
    return "\n".join(lines) + "\n"


def _body(plan: Plan, call: Call) -> Iterator[str]:
    is_followed = "generator" in call.kind
    if is_followed:
        yield _HIDDEN
    if plan.instead is not None:
        yield from _guarded(
            f"_clew_result = _clew_instead({call.given(plan.instead)})", "_clew_result = NotImplemented"
        )
        yield "if _clew_result is not NotImplemented: return _clew_result"
    if plan.open is not None:
        opening = _guarded(f"_clew_opened = _clew_open({call.given(plan.open)})", "_clew_opened = None")
        if plan.state is None:
            yield from opening
        else:
            yield "_clew_state = _clew_current()"
            yield from _when("_clew_state is not None and not _clew_state.is_recording", _untold(call))
            yield from _when("else" if is_followed else "", opening)
    is_open = "_clew_opened is not None" if plan.open is not None else ""
    for name, hook in plan.change.items():
        yield from _when(is_open, _guarded(f"{_target(call, name)} = _clew_change_{name}({call.given(hook)})"))
    if is_followed:
        yield from _followed(plan, call)
        return
    yield "try:"
    yield f"    _clew_result = {call.called}"
    yield "except BaseException as _clew_error:"
    yield f"    {_HIDDEN}"
    yield "    _clew_result = None"
    after_error = [plan.note if wants(plan.note, "error") else None, plan.close]
    yield from (f"    {line}" for line in _when(is_open, _ending(plan, call, after_error)))
    yield f"    {_RETRACE}"
    yield "    raise"
    if wants(plan.note, "error") or wants(plan.close, "error"):
        yield "_clew_error = None"
    yield from _when(is_open, _ending(plan, call, [plan.note, plan.close]))
    if plan.replace is not None:
        yield from _when(is_open, _guarded(f"_clew_result = _clew_replace({call.given(plan.replace)})"))
    yield "return _clew_result"


def _ending(plan: Plan, call: Call, hooks: list[Any]) -> Iterator[str]:
    for name, hook in (("note", plan.note), ("close", plan.close)):
        if hook is close_span and hook in hooks:
            yield from _guarded("_clew_opened.close(_clew_error)")  # without its call
        elif hook is not None and hook in hooks:
            yield from _guarded(f"_clew_{name}({call.given(hook)})")


def _untold(call: Call) -> Iterator[str]:
    """Of a request or task that is not recorded: the application's own call, and no more."""
    if "generator" in call.kind:
        yield "_clew_opened = None"
        return
    yield "try:"
    yield f"    return {call.called}"
    yield "except BaseException as _clew_error:"
    yield f"    {_HIDDEN}"
    yield f"    {_RETRACE}"
    yield "    raise"


def _followed(plan: Plan, call: Call) -> Iterator[str]:
    """A generator is stepped through by `wrapper_steps`, with its span current at each step."""
    note = "" if wants(plan.note, "error") else "None if _clew_error is not None else "
    hooks = ", ".join(
        f"lambda _clew_opened, _clew_error, _clew_result=None: {how}_clew_{name}({call.given(hook)})"
        for name, hook, how in (("note", plan.note, note), ("close", plan.close, ""))
        if hook is not None
    )
    steps = f"(_clew_original({call.passed}), _clew_opened, ({hooks},), _clew_place(_clew_original))"
    if call.kind == "generator":
        yield f"if _clew_opened is None: return (yield from _clew_original({call.passed}))"
        yield f"return (yield from _clew_follow{steps})"
        return
    yield f"_clew_steps = _clew_follow_async{steps}"
    yield "_clew_given = None"
    yield "try:"
    yield "    _clew_item = await anext(_clew_steps)"
    yield "    while True:"
    yield "        try: _clew_given = yield _clew_item"
    yield "        except GeneratorExit: raise"
    yield "        except BaseException as _clew_thrown: _clew_item = await _clew_steps.athrow(_clew_thrown)"
    yield "        else: _clew_item = await _clew_steps.asend(_clew_given)"
    yield "except StopAsyncIteration: return"
    yield "finally: await _clew_steps.aclose()"


def _target(call: Call, name: str) -> str:
    if call.positional == "_clew_args":
        raise UnknownParameterError(f"{call.where} takes anything, so its parameter {name!r} cannot be changed")
    if name not in call._read or (call.below is not None and call._read[name] != name):
        raise UnknownParameterError(f"{call.where} has no parameter {name!r}")
    return name


def _guarded(line: str, otherwise: str = "") -> Iterator[str]:
    yield "try:"
    yield f"    {line}"
    yield "except Exception as _clew_ours:"
    yield "    _clew_report(_clew_ours, _clew_place(_clew_original))"
    if otherwise:
        yield f"    {otherwise}"


def _when(condition: str, lines: Iterator[str]) -> Iterator[str]:
    body = list(lines)
    if condition and body:
        yield "else:" if condition == "else" else f"if {condition}:"
    indent = "    " if condition else ""
    for line in body:
        yield f"{indent}{line}"
