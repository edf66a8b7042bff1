"""clew's settings: one frozen dataclass, filled from arguments, the environment, Django's `CLEW` and defaults.

A setting's names are derived from its field: argument `task_parent`, environment `CLEW_TASK_PARENT`, Django
`CLEW = {"TASK_PARENT": ...}`. The first of these that is there wins.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

PREFIX = "CLEW_"
BUDGETS = tuple[tuple[str, int], ...]
TRUE, FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}


class SettingsError(ValueError):
    """A setting that does not exist or has the wrong type; the message says which, from where, and how to mend it."""


def _doc(default: Any, text: str) -> Any:
    return field(default=default, metadata={"doc": text})


@dataclass(frozen=True)
class Settings:
    """What clew is told. Every field can be given in three places; see the module."""

    enabled: bool = _doc(True, "false: nothing is patched, nothing is recorded")
    service_name: str = _doc("", "`service.name` of the resource; OTEL_SERVICE_NAME does the same")
    detail: Literal["default", "all"] = _doc(
        "default", "all: every middleware phase and template block is a span, however short"
    )
    task_parent: Literal["parent", "link"] = _doc(
        "parent", "parent: a task's run is a child of its publish span, and linked; link: a trace of its own, linked"
    )
    fan_out: int = _doc(
        200, "runs of tasks sent in loops that are in the trace of the request or task; more have a trace each, linked"
    )
    span_names: Literal["short", "full"] = _doc(
        "short",
        "short: the last parts of long names, 40 characters; full: whole names, and drivers' spans as they name them",
    )
    middleware_threshold_us: int = _doc(100, "a middleware phase this long (microseconds) is a span")
    readable_routes: bool = _doc(
        True, "routes of re_path() as `orders/<code>/`; false: as regular expressions, as contrib has them"
    )
    resolve_threshold_ms: float = _doc(1.0, "URL resolving this long (milliseconds) is a span")
    block_threshold_ms: float = _doc(1.0, "a template block this long (milliseconds) is a span")
    receiver_threshold_ms: float = _doc(1.0, "a signal's receiver this long (milliseconds) is a span")
    async_wait_threshold_ms: float = _doc(1.0, "a coroutine's wait for a thread this long (milliseconds) is a span")
    template_load_threshold_ms: float = _doc(5.0, "loading and compiling a template for this long (ms) is a span")
    max_spans_per_trace: int = _doc(2000, "clew's spans of one request or task; more are counted, not recorded")
    max_spans_per_parent: int = _doc(
        500,
        "spans of one seam below one span; more are counted on it, but for errors, findings and what has spans below",
    )
    max_stream_seconds: float = _doc(
        60.0,
        "a body, or an answer to a websocket's message, sent for this long (s) is told as it goes on; 0: at its end",
    )
    flush_timeout_ms: int = _doc(
        8000, "how long a process that leaves may wait for a collector that answers slowly (milliseconds)"
    )
    flush_unreachable_timeout_ms: int = _doc(
        2000, "how long a process that leaves may wait for a collector that cannot be reached (milliseconds)"
    )
    n_plus_one_threshold: int = _doc(5, "runs of one query from one place in the code that are an N+1")
    repeated_query_threshold: int = _doc(3, "runs of one query with the same parameters that are too many")
    write_in_loop_threshold: int = _doc(10, "single writes from one place in the code that should be one bulk write")
    publish_in_loop_threshold: int = _doc(20, "sends of one task from one line that should be one message")
    call_in_loop_threshold: int = _doc(
        5, "calls of another service from one line, one after the other, that are a loop"
    )
    repeated_call_threshold: int = _doc(3, "calls of another service that ask the very same and are too many")
    slow_query_threshold_ms: float = _doc(500.0, "a query this long (milliseconds) is slow; 0: never")
    slow_queue_threshold_ms: float = _doc(
        10_000.0, "a task that waited this long in its queue (milliseconds) says `celery.queue_slow`; 0: never"
    )
    unbounded_fetch_threshold_rows: int = _doc(
        1000, "a query without LIMIT that returns this many rows is unbounded; 0: never"
    )
    io_in_transaction_threshold_ms: float = _doc(
        50.0, "a call to a cache or broker this long (milliseconds) is worth a finding inside a transaction"
    )
    thread_wait_threshold_ms: float = _doc(
        100.0, "a request that waited this long (milliseconds) for threads that were busy; 0: never"
    )
    blocking_on_loop_threshold_ms: float = _doc(
        100.0, "code that keeps an event loop this long (milliseconds) is worth a finding; 0: nothing is watched"
    )
    memory_growth_threshold_mb: float = _doc(
        64.0, "a worker's process that has steadily grown by this much (MiB) has a leak; 0: never"
    )
    oversized_cache_value_threshold_kb: float = _doc(
        512.0, "a value of Django's Redis cache this large (KiB) is worth a finding; 0: never"
    )
    query_budgets: tuple[tuple[str, int], ...] = _doc(
        (), "queries allowed, by route or task name, `*` for all: `orders/=20,*=100` in the environment"
    )
    ignored_findings: tuple[str, ...] = _doc((), "detectors that are switched off, comma-separated in the environment")
    jaeger_warnings: bool = _doc(
        False,
        "true: findings are Warnings in a Jaeger that has no deploy/jaeger.yaml and no collector of clew's before it",
    )
    database_parameters: bool = _doc(False, "true: parameters of queries are recorded; they may be secrets")
    redact_names: tuple[str, ...] = _doc((), "more names whose values are secrets, comma-separated in the environment")

    django_request: bool = _doc(True, "seam django.request: the SERVER span")
    django_memory: bool = _doc(True, "seam django.memory: process.memory.delta of requests, and memory_growth")
    django_middleware: bool = _doc(True, "seam django.middleware")
    django_urls: bool = _doc(True, "seam django.urls")
    django_view: bool = _doc(True, "seam django.view")
    django_rest: bool = _doc(True, "seam django.rest: exceptions that REST framework or Ninja answer 5xx")
    django_graphql: bool = _doc(True, "seam django.graphql: operations, and exceptions of resolvers")
    django_template: bool = _doc(True, "seam django.template")
    django_jinja2: bool = _doc(True, "seam django.jinja2")
    django_auth: bool = _doc(True, "seam django.auth")
    django_session: bool = _doc(True, "seam django.session: what sessions cost")
    django_access: bool = _doc(True, "seam django.access: what kept a view from running")
    django_signals: bool = _doc(True, "seam django.signals: receivers of signals")
    django_async_bridge: bool = _doc(
        True, "seam django.async_bridge: waits for threads, and the line that awaited a query"
    )
    django_cache: bool = _doc(True, "seam django.cache: what is asked of caches, hit or miss")
    django_database: bool = _doc(True, "seam django.database: queries")
    django_transaction: bool = _doc(True, "seam django.transaction: transactions, savepoints, on_commit hooks")
    django_mail: bool = _doc(True, "seam django.mail: mail that is sent")
    django_server: bool = _doc(True, "seam django.server: spans outlive a stopped uvicorn")
    asgi_websocket: bool = _doc(True, "seam asgi.websocket: openings and messages of websockets")
    asgi_http_consumer: bool = _doc(True, "seam asgi.http_consumer: requests that Channels' HTTP consumers answer")
    asgi_channel_layer: bool = _doc(True, "seam asgi.channel_layer: what is sent through Channels' layers")
    celery_publish: bool = _doc(True, "seam celery.publish: the PRODUCER span")
    celery_receive: bool = _doc(True, "seam celery.receive: how long a task waited in the broker and in the worker")
    celery_canvas: bool = _doc(True, "seam celery.canvas: a canvas is one trace, a chord's body linked to its header")
    celery_run: bool = _doc(True, "seam celery.run: the CONSUMER span")
    celery_time_limit: bool = _doc(True, "seam celery.time_limit: a soft time limit is not lost in clew's own code")
    celery_worker: bool = _doc(True, "seam celery.worker: spans outlive a child's exit")
    celery_green: bool = _doc(
        True, "seam celery.green: workers of the gevent pool run under `opentelemetry-instrument`"
    )
    celery_consumers: bool = _doc(True, "seam celery.consumers: queues nobody reads")
    celery_fate: bool = _doc(True, "seam celery.fate: tasks that never ran, or whose child died")
    celery_log: bool = _doc(True, "seam celery.log: exceptions a task logs and then succeeds")
    celery_memory: bool = _doc(True, "seam celery.memory: process.memory.delta, and memory_growth")
    celery_lifecycle: bool = _doc(True, "seam celery.lifecycle: start and stop of workers and of pool children")
    celery_beat: bool = _doc(True, "seam celery.beat: a trace for each due entry of beat's schedule")
    celery_polling: bool = _doc(True, "seam celery.polling: no driver's spans of kombu's own traffic with Redis")

    def is_on(self, seam: str) -> bool:
        """Whether the seam of that name (`django.view`) is switched on."""
        return bool(getattr(self, seam.replace(".", "_"), True))


TYPES: Mapping[str, Any] = get_type_hints(Settings)
FIELDS = {each.name: each for each in fields(Settings)}


@dataclass(frozen=True)
class Resolved:
    """The settings, where each value came from, and a line for each value that could not be used."""

    settings: Settings
    sources: Mapping[str, str]
    problems: tuple[str, ...]


def resolve(arguments: Mapping[str, Any], django: Mapping[str, Any] | object = None) -> Resolved:
    """Settings from `arguments`, the environment and Django's `CLEW` dictionary, in this order.

    A value that cannot be used is left out (the next place counts) and named in `problems`.
    """
    values: dict[str, Any] = {}
    sources = dict.fromkeys(FIELDS, "default")
    problems: list[str] = []
    for source, given in (
        ("settings CLEW", _from_django(django, problems)),
        ("environment", _from_environment(problems)),
        ("argument", arguments),
    ):
        for key, value in given.items():
            try:
                name = _known(key, source)
                values[name] = _converted(name, value, source)
                sources[name] = source
            except SettingsError as error:
                problems.append(str(error))
    return Resolved(Settings(**values), sources, tuple(problems))


def _from_django(django: Mapping[str, Any] | object, problems: list[str]) -> Mapping[str, Any]:
    if django is None:
        return {}
    if not isinstance(django, Mapping):
        problems.append(f"clew: settings.CLEW must be a dictionary, not {type(django).__name__}; it is ignored")
        return {}
    return {key.lower() if isinstance(key, str) else _shown(key): value for key, value in dict(django).items()}


def _from_environment(problems: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in os.environ.items():
        if not key.startswith(PREFIX) or key.startswith("CLEW_DEMO_"):
            continue
        name = key[len(PREFIX) :].lower()
        if name in FIELDS:
            found[name] = value
        elif (close := _closest(name)) or value:
            hint = f"; did you mean {PREFIX}{close.upper()}?" if close else "; `clew settings` lists them"
            problems.append(f"clew: unknown environment variable {key}{hint}")
    return found


def _closest(name: str) -> str:
    return next(iter(difflib.get_close_matches(name.lower(), FIELDS, 1)), "")


def _known(key: str, source: str) -> str:
    if key in FIELDS:
        return key
    close = _closest(key)
    hint = f"did you mean {close!r}?" if close else "`clew settings` lists them"
    raise SettingsError(f"clew: unknown setting {key!r} ({source}); {hint}")


def _converted(name: str, value: Any, source: str) -> Any:
    kind = TYPES[name]
    try:
        return _as(kind, value)
    except Exception:  # noqa: BLE001 - a project's settings may hold any object
        raise SettingsError(f"clew: setting {name!r} ({source}) must be {_wanted(kind)}, not {_shown(value)}") from None


def _shown(value: Any) -> str:
    try:
        text = repr(value)[:60]
    except Exception:  # noqa: BLE001 - it is anybody's code
        return f"a value of {type(value).__name__}"
    return "".join(char if char.isprintable() else " " for char in text)


def _as(kind: Any, value: Any) -> Any:
    if get_origin(kind) is Literal:
        if value in get_args(kind):
            return value
        raise ValueError
    if kind is bool:
        return _as_bool(value)
    if kind is str:
        if isinstance(value, str):
            return value
        raise TypeError
    if kind in (int, float):
        return _as_number(kind, value)
    if kind == BUDGETS:
        return _as_budgets(value)
    return _as_names(value)


def _as_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = value.strip().lower() if isinstance(value, str) else ""
    if text in TRUE | FALSE:
        return text in TRUE
    raise ValueError


def _as_number(kind: type, value: Any) -> Any:
    if isinstance(value, bool) or (kind is int and isinstance(value, float)):
        raise TypeError
    number = kind(value)
    if not number >= 0 or number == float("inf"):
        raise ValueError
    return number


def _as_budgets(value: Any) -> tuple[tuple[str, int], ...]:
    if isinstance(value, str):
        parts = [part.rpartition("=") for part in value.split(",") if part.strip()]
        if not all(sep for _, sep, _ in parts):
            raise ValueError
        value = {name.strip(): int(number) for name, _, number in parts}
    return tuple((str(name), _as_number(int, number)) for name, number in dict(value).items())


def _as_names(value: Any) -> tuple[str, ...]:
    names = value.split(",") if isinstance(value, str) else tuple(value)
    if isinstance(value, Mapping) or not all(isinstance(name, str) for name in names):
        raise TypeError
    return tuple(name.strip() for name in names if name.strip())


def _wanted(kind: Any) -> str:
    if kind == BUDGETS:
        return "a dictionary of whole numbers, in the environment `name=number,name=number`"
    if get_origin(kind) is Literal:
        return " or ".join(repr(choice) for choice in get_args(kind))
    named = {bool: "true or false", str: "a string", int: "a whole number, 0 or more", float: "a number, 0 or more"}
    return named.get(kind, "a list of names")


def default_of(each: Field[Any]) -> Any:
    """The default of a field of `Settings`."""
    return each.default
