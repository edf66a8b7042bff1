"""Takes secrets out of log records and metrics, whoever sends them.

We stand where every provider of the SDK's passes, also one that was made before us: a record before the first processor
has it, a metric's points when a reader collects them. A series keeps what it was redacted to.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from clew.engine import redaction
from clew.engine.seam import Patch, Seam
from clew.engine.wrapper import Around


def _redact_record(log_record: Any) -> None:
    record, redactor = log_record.log_record, redaction.redactor
    record.body = redactor.attribute("", record.body)
    if record.attributes:
        for key, value in redactor.attributes(dict(record.attributes)).items():
            record.attributes[key] = value


def _redact_collected(result: Any) -> None:
    for attributes in _attributes_of(result):
        if type(attributes) is dict:
            attributes.update(redaction.redactor.attributes(attributes))


def _attributes_of(collected: Any) -> Iterator[Any]:
    for resource in collected.resource_metrics if collected is not None else ():
        for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
            for point in metric.data.data_points:
                yield point.attributes
                yield from (each.filtered_attributes for each in getattr(point, "exemplars", ()))


_LOGS = "opentelemetry.sdk._logs._internal"
_METRICS = "opentelemetry.sdk.metrics._internal.metric_reader_storage"
# Seams although they open no span.
SIGNALS = (
    Seam(
        "processors.logs",
        tuple(
            Patch(_LOGS, f"{kind}MultiLogRecordProcessor.on_emit", Around(_redact_record))
            for kind in ("Synchronous", "Concurrent")
        ),
    ),
    Seam("processors.metrics", (Patch(_METRICS, "MetricReaderStorage.collect", Around(note=_redact_collected)),)),
)
