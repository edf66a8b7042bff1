"""A site with a version of a library in which a name has become another one; prints what it does, as JSON."""

from __future__ import annotations

import importlib.machinery
import json
import logging
import re
import sys
from typing import Any


class Renaming(importlib.machinery.SourceFileLoader):
    """Loads a library's source with a name in it renamed, wherever the library itself uses it."""

    name_before = ""

    def get_code(self, fullname: str) -> Any:
        path = self.get_filename(fullname)
        source = re.sub(rf"\b{self.name_before}\b", f"{self.name_before}_renamed", self.get_data(path).decode())
        return compile(source, path, "exec")


class Finder:
    """Finds the modules of the library whose name is renamed."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != self.package and not name.startswith(f"{self.package}."):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and type(spec.loader) is importlib.machinery.SourceFileLoader:
            spec.loader = Renaming(spec.loader.name, spec.loader.path)
        return spec


class Lines(logging.Handler):
    """What clew says."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def main(package: str, name: str, is_contrib_first: str) -> None:
    Renaming.name_before = name
    sys.meta_path.insert(0, Finder(package))
    lines = Lines()
    logging.getLogger("clew").addHandler(lines)
    logging.getLogger("clew").setLevel(logging.WARNING)  # whatever the worker's own level is

    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    import clew

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    if is_contrib_first == "False":
        clew.setup_tracing(tracer_provider=provider)
    from opentelemetry.instrumentation.celery import CeleryInstrumentor

    CeleryInstrumentor().instrument(skip_dep_check=True)
    clew.setup_tracing(tracer_provider=provider)
    done = [runs_tasks(), runs_a_pool()]
    spans = sorted(span.name for span in exporter.get_finished_spans() if "/add" in span.name)
    print(json.dumps({"said": lines.said, "spans": spans, "done": done}))


def runs_tasks() -> Any:
    """A worker, and a task it runs."""
    from celery import chord
    from celery.contrib.testing.worker import start_worker

    from tests.celery_site.app import make_app

    app = make_app(backend="cache+memory://")
    app.set_current()
    importlib.import_module("celery.beat")
    importlib.import_module("kombu.transport.redis")
    with start_worker(app, pool="solo", perform_ping_check=False):
        one = app.tasks["add"].delay(1, 2).get(timeout=30)
        return [one, chord([app.tasks["add"].s(3, 4)], app.tasks["total"].s(), app=app).delay().get(timeout=30)]


def runs_a_pool() -> Any:
    """A process of the prefork pool, from its start to its end."""
    from celery.concurrency.prefork import TaskPool

    from tests.celery_site.app import make_app

    found: list[Any] = []
    app = make_app()
    pool = TaskPool(1, app=app, initargs=(app, "here"))
    pool.start()
    pool.on_apply(len, ((1, 2),), callback=found.append).get(timeout=10)
    pool.stop()
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
