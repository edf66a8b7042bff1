"""Writes what is generated from the code: `uv run python docs/generate.py`.

That is docs/{spans,findings,metrics,configuration,searches}.md, the menu of searches in deploy/jaeger-ui.json, and what
the collectors' redaction need not look into.
"""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path
from typing import Literal, get_args, get_origin
from urllib.parse import urlencode

from clew.attributes import DESCRIPTIONS, ON_ANY_SPAN, ON_ROOTS, finding, is_free_of_secrets
from clew.detectors import detectors
from clew.engine.metric import METRICS
from clew.seams import seams
from clew.settings import BUDGETS, FIELDS, TYPES, default_of

HERE = Path(__file__).parent


def spans() -> str:
    """The span catalogue: a section for each seam, then every attribute."""
    lines = [
        "# Spans",
        "",
        "Generated from the code by `docs/generate.py`. The tracer of a seam is named after its module: "
        "`otel.scope.name = clew.seams.django.template` in any backend is the file or package "
        "`src/clew/seams/django/template`.",
        "",
    ]
    for heading, everywhere in (
        ("On any span of clew's", ON_ANY_SPAN),
        ("On the span of a request, of a task or of whatever else begins a trace, besides", ON_ROOTS),
    ):
        lines += [f"## {heading}", "", *(f"- `{name}`: {DESCRIPTIONS[name]}" for name in everywhere), ""]
    for seam in seams():
        lines += [f"## {seam.name}", ""]
        switch = f"CLEW_{seam.name.replace('.', '_').upper()}"
        lines += [f"Switch: `{switch}` · scope: `clew.seams.{seam.name}` · {_source(seam.name)}", ""]
        if not seam.spans:
            lines += ["No spans of its own.", ""]
        for doc in seam.spans:
            lines += [f"### `{doc.name}`", "", f"{doc.kind} · {doc.where}", ""]
            lines += [f"- `{name}`: {DESCRIPTIONS.get(name, '')}".rstrip(": ") for name in doc.attributes]
            lines += [""] if doc.attributes else []
    lines += ["## Every attribute clew emits", "", "| attribute | meaning |", "|-|-|"]
    lines += [f"| `{name}` | {text} |" for name, text in sorted(DESCRIPTIONS.items())]
    return "\n".join(lines) + "\n"


def _source(seam: str) -> str:
    path = f"src/clew/seams/{seam.replace('.', '/')}"
    path += "/" if (HERE.parent / path).is_dir() else ".py"
    return f"source: [`{path}`](../{path})"


def configuration() -> str:
    """Every setting with its names, type and default."""
    lines = [
        "# Configuration",
        "",
        "Generated from the code by `docs/generate.py`. A setting can be given in three places, the first wins:",
        "an argument of `setup_tracing()`, the environment (`CLEW_...`), Django's settings (`CLEW = {...}`).",
        "`clew settings` prints each value and where it came from.",
        "",
        "| argument and `CLEW` key | environment | values | default | |",
        "|-|-|-|-|-|",
    ]
    for name, field in FIELDS.items():
        default = default_of(field)
        lines.append(
            f"| `{name}` | `CLEW_{name.upper()}` | {_kind(TYPES[name])} | `{default!r}` | {field.metadata['doc']} |"
        )
    lines += [
        "",
        "An unknown name or a wrong type is one clear line: an error in `setup_tracing()`, a warning under",
        "`opentelemetry-instrument`, where the application starts in any case.",
        "",
        "## OpenTelemetry's own variables",
        "",
        "All standard `OTEL_*` variables keep their meaning (exporter, endpoint, protocol, headers, sampler, limits,",
        "propagators, resource, batch processor). What clew sets when you do not:",
        "",
        "- `OTEL_SEMCONV_STABILITY_OPT_IN=http,database`: the stable attribute names. Set it to `http/dup` to have the",
        "  old ones beside them.",
        "- `service.name`, without `OTEL_SERVICE_NAME`: the package of `DJANGO_SETTINGS_MODULE`.",
        "- `OTEL_SDK_DISABLED=true`: nothing is patched.",
        "- `OTEL_METRICS_EXPORTER=otlp`, under `opentelemetry-instrument` only; `none` switches",
        "  [metrics](metrics.md) off.",
        "- `OTEL_LOGS_EXPORTER`: nothing. Where you set it, clew makes the provider of log records, and",
        "  `opentelemetry-instrumentation-logging` (or a handler of yours) writes them.",
        "",
        "contrib's variables keep working: `OTEL_PYTHON_DJANGO_EXCLUDED_URLS`,",
        "`OTEL_PYTHON_DJANGO_TRACED_REQUEST_ATTRS`,",
        "`OTEL_PYTHON_DJANGO_INSTRUMENT`, `OTEL_PYTHON_DJANGO_MIDDLEWARE_POSITION` (where its request hook is called),",
        "`OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_*`. `OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=clew` keeps clew out.",
        "",
        "## What is redacted",
        "",
        "Whatever leaves by OpenTelemetry's SDK in a process where clew is set up, clew's and everybody else's, with",
        "any exporter:",
        "",
        "| signal | redacted |",
        "|-|-|",
        "| spans | names, attributes, events, links, descriptions of statuses; lists item by item |",
        "| log records | body and attributes, mappings and lists within them too |",
        "| metrics | attributes of points and of exemplars |",
        "| requests | arguments of routes under secrets' names in `url.path`, random keys and codes too; "
        "parameters in `url.query` |",
        "| resources | attributes (`OTEL_RESOURCE_ATTRIBUTES`, `process.command_args`) |",
        "",
        "Values under the names of secrets are replaced whole; in texts what is a secret by its look or by what",
        "stands before it. `redact_names` adds names. **Not redacted:** a secret in prose, which has neither a name",
        "nor a look; the *names* of attributes, metrics, event names of log records and instrumentation scopes;",
        "`tracestate` and baggage; identifiers that a site makes secrets of (a trace id, a message's id); what a",
        "process writes to its own log files; a secret in a path that has no name before it (`/reset/x7f3/`) in texts",
        "of log records, or where no route was found; spans that end and records that are made before clew is set up.",
    ]
    return "\n".join(lines) + "\n"


def findings() -> str:
    """Every detector: what it finds, the remedy, what it leaves alone."""
    lines = [
        "# Findings",
        "",
        "Generated from the code by `docs/generate.py`. A finding says on the trace what is wrong, where, and how to",
        "mend it: an event `clew.finding.<type>` and a line in `clew.warnings` on the span where it happened; on the",
        "request's or task's span all lines, `clew.findings`, `clew.<type>.count`, and `clew.finding.<type>=true` to",
        "search for ([searches.md](searches.md)); a counter `clew.findings` by type",
        "and route or task where a meter provider is there (unsampled requests count too), and in tests",
        "`trace.findings` and `trace.assert_no_findings()`. A type is the name of a file in `src/clew/detectors/`.",
        "",
        "Requests and tasks are watched, and whatever else runs under a root span of its own: in a script or a test,",
        '`with tracer.start_as_current_span("nightly"):` is enough.',
        "",
        "Four places or more of one loop, of one type, are one finding: the loop, with what each place says in",
        "`clew.finding.places`. The span of each place says its own.",
        "",
        "`CLEW_IGNORED_FINDINGS=slow_query,...` switches detectors off.",
        "",
    ]
    for detector in detectors():
        lines += [f"## {detector.type}", "", detector.doc, ""]
        lines += [f"**Fix:** {detector.fix}", "", f"**Not found, on purpose:** {detector.not_found}", ""]
    return "\n".join(lines).rstrip() + "\n"


def metrics() -> str:
    """Every metric."""
    lines = [
        "# Metrics",
        "",
        "Generated from the code by `docs/generate.py`. Under `opentelemetry-instrument` they are sent by OTLP, after",
        "`pip install clew` alone as beside `opentelemetry-distro`; `OTEL_METRICS_EXPORTER=none` keeps them here.",
        "With `setup_tracing()` in code they are sent where `OTEL_METRICS_EXPORTER` (`otlp`, `console`, `prometheus`)",
        "asks for them, or the site makes a meter provider. Each process of a server or of a worker's pool counts for",
        "itself, and its resource says which it is (`process.pid`). Unsampled requests and tasks count too.",
        "Attributes: the broker (`messaging.system`, `server.*`), the queue (`messaging.destination.name`), the task",
        "(`celery.task_name`), `celery.outcome`, `error.type`, the route (`http.route`), a cache's alias and its keys'",
        "template; never an id. A metric has 2,000 series a process: then a task, queue, broker, error, route, key",
        "or host that is new is `_OTHER`, as an unknown task always is.",
        "",
        "| metric | kind, unit | meaning |",
        "|-|-|-|",
    ]
    seams()  # each brings its own
    lines += [f"| `{name}` | {each.kind}, `{each.unit}` | {each.text} |" for name, each in sorted(METRICS.items())]
    lines += [
        "",
        "`messaging.*` by the semantic conventions for messaging. Types of `clew.findings` are those of",
        "[findings.md](findings.md). Beside them `clew.spans.lost` (what did not arrive, by `reason`);",
        "contrib's own: `flower.task.runtime.seconds`, `http.server.request.duration`, `http.server.active_requests`.",
    ]
    return "\n".join(lines) + "\n"


# What a person looks for, as the attribute and value that an equality search of any backend finds.
SEARCHES = {
    "anything that clew found": ("clew.finding.any", "true"),
    "an error": ("error", "true"),
    "the view never ran": ("django.view.reached", "false"),
    "a queue nobody reads": ("celery.has_consumers", "false"),
    "a slow queue": ("celery.queue_slow", "true"),
    "a message delivered again": ("celery.redelivered", "true"),
    **{
        f"a task: {outcome}": ("celery.outcome", outcome)
        for outcome in ("failed", "retried", "timed_out", "lost", "revoked", "expired", "unknown", "rejected")
    },
    **{f"found: {detector.type}": (finding(detector.type), "true") for detector in detectors()},
}


def searches() -> str:
    """Every search that is ready in Jaeger's window, for other backends too."""
    lines = [
        "# Searches",
        "",
        "Generated from the code by `docs/generate.py`. Each is one attribute with a fixed value, so it finds what it",
        "names in any backend; in Jaeger they are in the menu *Searches* (`deploy/jaeger-ui.json`). `error` is its",
        "own word for the status ERROR. `celery.queue_slow` comes with `CLEW_SLOW_QUEUE_THRESHOLD_MS`.",
        "[backends.md](backends.md) says how each backend shows what is found.",
        "",
        "| looking for | search for |",
        "|-|-|",
    ]
    lines += [f"| {what} | `{name}={value}` |" for what, (name, value) in SEARCHES.items()]
    return "\n".join(lines) + "\n"


def jaeger_ui() -> str:
    """deploy/jaeger-ui.json with the searches in its menu."""
    window = json.loads((HERE.parent / "deploy" / "jaeger-ui.json").read_text())
    items = [
        {"label": what, "url": f"/search?{_query(name, value)}", "anchorTarget": "_self"}
        for what, (name, value) in SEARCHES.items()
    ]
    window["monitor"] = {"menuEnabled": True}
    window["menu"] = [{"label": "Searches", "items": items}]
    return json.dumps(window, indent=2) + "\n"


_IGNORED = re.compile(r"^    ignored_keys: \[.*?\]\n", re.MULTILINE | re.DOTALL)


def collector(path: str) -> str:
    """A collector's configuration, whose redaction leaves alone what cannot hold free text."""
    ignored = ", ".join(sorted(filter(is_free_of_secrets, DESCRIPTIONS)))
    lines = textwrap.wrap(ignored, 112, break_on_hyphens=False, initial_indent=" " * 6, subsequent_indent=" " * 6)
    block = "\n".join(["    ignored_keys: [", *lines, "    ]", ""])
    return _IGNORED.sub(lambda _: block, (HERE.parent / path).read_text())


def _query(name: str, value: str) -> str:
    tags = json.dumps({name: value}, separators=(",", ":"))
    return urlencode({"start": 0, "end": 0, "lookback": "1h", "limit": 20, "tags": tags})


def _kind(kind: object) -> str:
    if get_origin(kind) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(kind))
    if kind == BUDGETS:
        return "name=number, ..."
    return {bool: "true, false", str: "text", int: "whole number", float: "number"}.get(kind, "names")  # type: ignore[arg-type]


PAGES = {
    "spans.md": spans,
    "configuration.md": configuration,
    "findings.md": findings,
    "metrics.md": metrics,
    "searches.md": searches,
    "../deploy/jaeger-ui.json": jaeger_ui,
    "../collector-config.yaml": lambda: collector("collector-config.yaml"),
    "../deploy/collector-tier1.yaml": lambda: collector("deploy/collector-tier1.yaml"),
}


if __name__ == "__main__":
    for name, page in PAGES.items():
        (HERE / name).write_text(page())
