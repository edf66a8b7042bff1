"""Names of spans in so many requests to the demo's pages, with whole names and with short ones: `uv run python benchmarks/names.py short|full 1000`.

How many different names there are, and how many are still different within the 40 characters that a viewer shows.
"""
import itertools
import os
import sys
import tempfile

SHOWN = 40


def run(form, requests):
    folder = tempfile.mkdtemp()
    os.environ.update(CLEW_DEMO_DIR=folder, CLEW_DEMO_BROKER="memory://", DJANGO_SETTINGS_MODULE="clew.cli.demo_site.settings")
    import django
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

    import clew
    from clew.export.encoding import encode_spans_for_http

    names = {}

    class Names(SpanExporter):
        def export(self, spans):
            request = ExportTraceServiceRequest.FromString(encode_spans_for_http(spans).SerializeToString())
            for group in request.resource_spans:
                for scope in group.scope_spans:
                    for span in scope.spans:
                        names[span.name] = names.get(span.name, 0) + 1
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(Names()))
    django.setup()
    from django.conf import settings

    settings.ALLOWED_HOSTS = ["*"]
    clew.setup_tracing(tracer_provider=provider, span_names=form, readable_routes=form == "short", detail="all")
    from clew.cli.demo_site.celery_app import app
    from clew.cli.demo_site.seed import seed

    app.conf.task_always_eager = True
    seed()
    names.clear()
    visit(requests)
    cut = {name[:SHOWN] for name in names}
    print(f"| {form} | {len(names)} | {len(cut)} | {sum(names.values()):,} | {max(map(len, names))} |")
    if "--list" in sys.argv:
        print("\n".join(sorted(names)))


def visit(requests):
    from django.test import Client

    from clew.cli.demo.drive import PASSWORD, USER
    from clew.cli.demo.mistakes import MISTAKES

    client = Client(raise_request_exception=False)
    client.post("/accounts/login/", {"username": USER, "password": PASSWORD})
    pages = [("GET", each) for each in ("/", "/orders/", "/orders/3/", "/invoices/4.txt", "/archive/2024/", "/closed/", "/rates/", "/broken/")]
    pages += [(each.method, each.path) for each in MISTAKES if each.name not in ("stocktaking", "ranking")]
    for method, path in itertools.islice(itertools.cycle(pages), requests):
        client.generic(method, path)


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]))
