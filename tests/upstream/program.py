"""Runs every scenario once, with contrib alone (`upstream`) or with clew, and prints what was exported as JSON.

python -m tests.upstream.program upstream|clew|nothing
"""

import asyncio
import contextlib
import io
import json
import os
import sys
import warnings

os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = "http"
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.site.settings"
warnings.simplefilter("ignore")

from opentelemetry import trace  # noqa: E402 - the environment is read at import
from opentelemetry.sdk.trace import TracerProvider  # noqa: E402
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: E402

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)

if sys.argv[1] == "clew":
    import clew

    clew.setup_tracing()
elif sys.argv[1] == "upstream":
    from opentelemetry.instrumentation.django import DjangoInstrumentor

    DjangoInstrumentor().instrument()

import django  # noqa: E402 - after instrumentation, as in manage.py

django.setup()

from django.core.handlers.asgi import ASGIHandler  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.test import override_settings  # noqa: E402

environ = {
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "QUERY_STRING": "",
    "SERVER_NAME": "testserver",
    "SERVER_PORT": "8000",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REMOTE_ADDR": "127.0.0.1",
    "HTTP_HOST": "testserver:8000",
    "wsgi.url_scheme": "http",
    "wsgi.errors": sys.stderr,
}


def get(path, **more):
    application = get_wsgi_application()
    response = application({**environ, "PATH_INFO": path, "wsgi.input": io.BytesIO(), **more}, lambda *a: None)
    b"".join(response)
    response.close()


async def aget(path, cancel_after=None):
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "scheme": "http",
        "http_version": "1.1",
        "headers": [(b"host", b"testserver")],
        "server": ("testserver", 80),
        "client": ("127.0.0.1", 1),
    }
    asked, sent = [], []

    async def receive():
        if not asked:
            asked.append(1)
            return {"type": "http.request", "body": b"", "more_body": False}
        await asyncio.sleep(cancel_after or 3600)
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    await ASGIHandler()(scope, receive, send)
    return b"".join(message.get("body", b"") for message in sent)


def spans():
    found = []
    for span in exporter.get_finished_spans():
        found.append(
            {
                "name": span.name,
                "kind": span.kind.name,
                "status": span.status.status_code.name,
                "attributes": dict(span.attributes),
                "events": [[event.name, dict(event.attributes)] for event in span.events],
                "trace": span.context.trace_id,
            }
        )
    exporter.clear()
    return found


def not_found():
    get("/missing/")


def middleware_raises():
    with override_settings(MIDDLEWARE=[*upstream_first(), "tests.site.middleware.RaisingMiddleware"]):
        get("/plain/")


def urlconf_switched():
    with override_settings(MIDDLEWARE=[*upstream_first(), "tests.site.middleware.OtherUrlconfMiddleware"]):
        get("/plain/")


def disallowed_host():
    with contextlib.suppress(Exception):
        get("/plain/", HTTP_HOST="evil.example")


def stream():
    get("/stream/")


def astream():
    asyncio.run(aget("/astream/"))


def cancelled():
    asyncio.run(aget("/slow/", cancel_after=0.05))


def system_exit():
    with contextlib.suppress(SystemExit):
        get("/exit/")


def hops_of_async_view():
    """How often the request was pushed through a thread."""
    from asgiref.sync import SyncToAsync

    hops, call = [], SyncToAsync.__call__

    def counting(self, *args, **kwargs):
        hops.append(self.func)
        return call(self, *args, **kwargs)

    SyncToAsync.__call__ = counting
    try:
        with override_settings(MIDDLEWARE=[] if sys.argv[1] == "nothing" else upstream_first()):
            asyncio.run(aget("/aplain/"))
    finally:
        SyncToAsync.__call__ = call
    return len(hops)


def no_raw_uri():
    get("/plain/")


def upstream_first():
    from opentelemetry.instrumentation.django import DjangoInstrumentor

    return [DjangoInstrumentor._opentelemetry_middleware]


# Those after which contrib leaves its span current come last.
SCENARIOS = [
    no_raw_uri,
    not_found,
    middleware_raises,
    urlconf_switched,
    stream,
    astream,
    hops_of_async_view,
    disallowed_host,
    cancelled,
    system_exit,
]


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    result = {}
    for scenario in SCENARIOS:
        returned = scenario()
        result[scenario.__name__] = {"spans": spans(), "returned": returned}
    answers.write(json.dumps(result))
    answers.flush()


main()
