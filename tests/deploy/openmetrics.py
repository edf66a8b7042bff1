"""What the collector would serve Prometheus: metrics of the SDK's and span metrics, as OpenMetrics text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from . import SINGLE, load

UNITS = {"s": "seconds", "ms": "milliseconds"}
COUNTED = ("SERVER", "CONSUMER", "PRODUCER")
# The collector's own, as its Prometheus reader names them.
OWN = """\
# TYPE otelcol_receiver_accepted_spans counter
otelcol_receiver_accepted_spans_total{receiver="otlp"} %(n)d
# TYPE otelcol_receiver_refused_spans counter
otelcol_receiver_refused_spans_total{receiver="otlp"} %(n)d
# TYPE otelcol_exporter_enqueue_failed_spans counter
otelcol_exporter_enqueue_failed_spans_total{exporter="otlp_grpc/jaeger"} 0
# TYPE otelcol_exporter_queue_size gauge
otelcol_exporter_queue_size{exporter="otlp_grpc/jaeger"} 1000
# TYPE otelcol_exporter_queue_capacity gauge
otelcol_exporter_queue_capacity{exporter="otlp_grpc/jaeger"} 1073741824
# TYPE otelcol_processor_tail_sampling_sampling_trace_dropped_too_early counter
otelcol_processor_tail_sampling_sampling_trace_dropped_too_early_total 0
# EOF
"""


def labels(attributes: dict[str, Any], **more: str) -> str:
    named = {**{key.replace(".", "_"): value for key, value in attributes.items()}, **more}
    return "{" + ",".join(f'{key}="{_escaped(value)}"' for key, value in sorted(named.items())) + "}"


def _escaped(value: Any) -> str:
    return str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _exemplar(held: list[dict[str, Any]]) -> str:
    for each in held:
        return f' # {{trace_id="{each["trace_id"]:032x}",span_id="{each["span_id"]:016x}"}} {each["value"]}'
    return ""


def of_metrics(exported: dict[str, Any], times: int, job: str) -> Iterator[str]:
    """The application's own metrics, grown `times` over."""
    for resource in exported["resource_metrics"]:
        for metric in (metric for scope in resource["scope_metrics"] for metric in scope["metrics"]):
            name = "_".join([metric["name"].replace(".", "_"), *filter(None, [UNITS.get(metric["unit"])])])
            data = metric["data"]
            if "is_monotonic" in data:
                is_counter = data["is_monotonic"]
                yield f"# TYPE {name} {'counter' if is_counter else 'gauge'}"
                for point in data["data_points"]:
                    held = _exemplar(point["exemplars"]) if is_counter else ""
                    suffix = "_total" if is_counter else ""
                    yield f"{name}{suffix}{labels(point['attributes'], job=job)} {point['value'] * times}{held}"
            else:
                yield f"# TYPE {name} histogram"
                for point in data["data_points"]:
                    yield from _histogram(name, point, times, job)


def _histogram(name: str, point: dict[str, Any], times: int, job: str) -> Iterator[str]:
    total, exemplar = 0, _exemplar(point["exemplars"])
    for bound, count in zip([*point["explicit_bounds"], "+Inf"], point["bucket_counts"], strict=True):
        total += count
        held = labels(point["attributes"], job=job, le=str(bound))
        yield f"{name}_bucket{held} {total * times}{exemplar if bound == '+Inf' else ''}"
    yield f"{name}_count{labels(point['attributes'], job=job)} {point['count'] * times}"
    yield f"{name}_sum{labels(point['attributes'], job=job)} {point['sum'] * times}"


def dimensions(span: dict[str, Any], config: dict[str, Any]) -> tuple[tuple[str, str], ...] | None:
    """The labels by which a span is counted, as the configuration says; None: it is not."""
    kind = span["kind"].rpartition(".")[2]
    (condition,) = config["processors"]["filter/edges"]["trace_conditions"]
    if all(f"SPAN_KIND_{each}" in condition for each in COUNTED) and kind not in COUNTED:
        return None
    held = dict(span["attributes"])
    if (status := held.get("http.response.status_code")) is not None:
        held["http.status_class"] = f"{status // 100}xx"
    found = {
        "service.name": "demo",
        "span.name": span["name"],
        "span.kind": f"SPAN_KIND_{kind}",
        "status.code": f"STATUS_CODE_{span['status']['status_code']}",
    }
    wanted = [each["name"] for each in config["connectors"]["span_metrics"]["dimensions"]]
    found.update({name: str(held[name]) for name in wanted if name in held})
    return tuple(sorted(found.items()))


def counted(spans: list[dict[str, Any]]) -> dict[tuple[tuple[str, str], ...], list[dict[str, Any]]]:
    """The spans that are counted, by their labels."""
    config, found = load(SINGLE), defaultdict(list)
    for span in spans:
        if (key := dimensions(span, config)) is not None:
            found[key].append(span)
    return found


def of_spans(spans: list[dict[str, Any]], times: int) -> Iterator[str]:
    """Span metrics and the service graph, grown `times` over."""
    histogram = load(SINGLE)["connectors"]["span_metrics"]["histogram"]
    name = f"traces_span_metrics_duration_{UNITS[histogram['unit']]}"
    groups = counted(spans)
    yield "# TYPE traces_span_metrics_calls counter"
    for key, held in groups.items():
        yield f"traces_span_metrics_calls_total{labels(dict(key))} {len(held) * times}{_exemplar([_traced(held[0])])}"
    yield f"# TYPE {name} histogram"
    for key, held in groups.items():
        bounds = [_milliseconds(each) for each in histogram["explicit"]["buckets"]]
        took = [_traced(span)["value"] for span in held]
        counts = [
            sum(low < each <= high for each in took) for low, high in zip([0, *bounds], [*bounds, 1e12], strict=True)
        ]
        point = {"attributes": dict(key), "explicit_bounds": bounds, "bucket_counts": counts, "count": len(took)}
        yield from _histogram(name, {**point, "sum": sum(took), "exemplars": [_traced(held[0])]}, times, "demo")
    yield "# TYPE traces_service_graph_request counter"
    runs = sum("CONSUMER" in span["kind"] for span in spans)
    yield f'traces_service_graph_request_total{{client="demo-web",server="demo-worker"}} {runs * times}'


def _milliseconds(text: str) -> float:
    return float(text[:-2]) if text.endswith("ms") else float(text[:-1]) * 1000


def _traced(span: dict[str, Any]) -> dict[str, Any]:
    began, ended = (datetime.fromisoformat(span[key].rstrip("Z")) for key in ("start_time", "end_time"))
    ids = {key: int(span["context"][key], 16) for key in ("trace_id", "span_id")}
    return {**ids, "value": max((ended - began).total_seconds() * 1000, 0.001)}
