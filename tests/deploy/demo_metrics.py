"""Runs the demo's site and a worker of it in this process; prints its metrics and spans as JSON."""
# ruff: noqa: E402 - settings and providers come before what reads them

from __future__ import annotations

import json
import os
import sys
import time

os.environ.update(DJANGO_SETTINGS_MODULE="clew.cli.demo_site.settings", CLEW_DEMO_BROKER="memory://")

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

READER, EXPORTER = InMemoryMetricReader(), InMemorySpanExporter()
metrics.set_meter_provider(MeterProvider([READER], shutdown_on_exit=False))
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(SimpleSpanProcessor(EXPORTER))
trace.set_tracer_provider(provider)

import clew

clew.setup_tracing()

import django

django.setup()

from celery.contrib.testing.worker import start_worker
from django.test import Client

from clew.cli.demo_site.celery_app import app
from clew.cli.demo_site.mistakes.urls import urlpatterns
from clew.cli.demo_site.seed import seed
from clew.export.losses import Losses

PAGES = ["/", "/orders/", "/closed/", "/broken/", *(f"/mistakes/{each.pattern}" for each in urlpatterns)]
PATIENCE_SECONDS = 60


def runs() -> int:
    return len({span.attributes["messaging.message.id"] for span in ended(trace.SpanKind.CONSUMER)})


def publishes() -> int:
    return len({span.attributes["messaging.message.id"] for span in ended(trace.SpanKind.PRODUCER) if is_read(span)})


def is_read(span) -> bool:
    return span.attributes["messaging.destination.name"] == app.conf.task_default_queue


def ended(kind):
    return [span for span in EXPORTER.get_finished_spans() if span.kind is kind]


def main() -> None:
    seed()
    client = Client(raise_request_exception=False, SERVER_NAME="localhost")
    with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=PATIENCE_SECONDS):
        for page in PAGES:
            if client.get(page).status_code == 405:
                client.post(page)
        end = time.monotonic() + PATIENCE_SECONDS
        while runs() < publishes() and time.monotonic() < end:
            time.sleep(0.05)
    losses = Losses("http://collector:4317")
    losses.add(3, "unreachable")
    losses.report()
    spans = [json.loads(span.to_json(indent=None)) for span in EXPORTER.get_finished_spans()]
    json.dump({"metrics": json.loads(READER.get_metrics_data().to_json()), "spans": spans}, sys.stdout)


main()
