"""Every panel and alert, by a real Prometheus that has the demo's own metrics; the collector's patterns, by Go."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.shared import free_port

from . import ROOT, SINGLE, load
from .openmetrics import OWN, counted, of_metrics, of_spans
from .test_collector import HARMLESS, SECRET_KEYS, SECRETS

pytestmark = pytest.mark.prometheus
PATIENCE_SECONDS = 60
CONFIG, ALERTS = "deploy/prometheus/prometheus.yml", "deploy/prometheus/alerts.yml"
DASHBOARD = json.loads((ROOT / "deploy/grafana/clew.json").read_text())
PANELS = {panel["title"]: panel for panel in DASHBOARD["panels"]}
RULES = [rule for group in load(ALERTS)["groups"] for rule in group["rules"]]


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Metrics and spans of the demo's pages and tasks."""
    folder = tmp_path_factory.mktemp("demo")
    ran = subprocess.run(
        [sys.executable, "-m", "tests.deploy.demo_metrics"],
        env={**os.environ, "CLEW_DEMO_DIR": str(folder), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def serve(demo: dict[str, Any]) -> http.server.ThreadingHTTPServer:
    """What is scraped has grown since."""
    scrapes = [0]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            scrapes[0] += 1
            if self.path == "/collector":
                text = OWN % {"n": scrapes[0]}
            else:
                lines = [*of_metrics(demo["metrics"], scrapes[0], "demo"), *of_spans(demo["spans"], scrapes[0])]
                text = "\n".join([*lines, "# EOF", ""])
            self.send_response(200)
            self.send_header("Content-Type", "application/openmetrics-text; version=1.0.0; charset=utf-8")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class Prometheus:
    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"

    def get(self, path: str, **query: Any) -> Any:
        with urllib.request.urlopen(f"{self.address}{path}?{urllib.parse.urlencode(query)}", timeout=30) as answer:
            return json.load(answer)["data"]

    def ask(self, expression: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("/api/v1/query", query=expression)["result"]
        return found

    def until(self, expression: str) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                if self.ask(expression):
                    return
            except OSError:
                pass
            assert time.monotonic() < end, f"no data: {expression}"
            time.sleep(0.1)


@pytest.fixture(scope="session")
def prometheus(demo: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder, server, port = tmp_path_factory.mktemp("prometheus"), serve(demo), free_port()
    config = load(CONFIG)
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    for job in config["scrape_configs"]:
        del job["dns_sd_configs"]
        job["static_configs"] = [{"targets": [f"127.0.0.1:{server.server_port}"]}]
        job["metrics_path"] = f"/{job['job_name']}"
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    shutil.copy(ROOT / ALERTS, folder)
    options = [each for each in load("docker-compose.yml")["services"]["prometheus"]["command"] if "feature" in each]
    command = [
        *("prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"),
        *(f"--web.listen-address=127.0.0.1:{port}", *options),
    ]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            found = Prometheus(port)
            found.until("rate(traces_span_metrics_calls_total[1m])")
            found.until("rate(otelcol_receiver_accepted_spans_total[1m])")
            yield found
        finally:
            process.terminate()
            server.shutdown()
            server.server_close()


def filled(expression: str) -> str:
    return expression.replace("$__rate_interval", "1m").replace("$service", ".*")


@pytest.mark.parametrize("title", PANELS)
def test_a_panel_has_data_and_leads_to_traces(prometheus: Prometheus, demo: dict[str, Any], title: str) -> None:
    traces = {span["context"]["trace_id"].removeprefix("0x") for span in demo["spans"]}
    for target in PANELS[title]["targets"]:
        values = [float(each["value"][1]) for each in prometheus.ask(filled(target["expr"]))]
        assert [value for value in values if value == value], target["expr"]
        held = prometheus.get(
            "/api/v1/query_exemplars", query=filled(target["expr"]), start=time.time() - 3600, end=time.time()
        )
        found = {each["labels"]["trace_id"] for series in held for each in series["exemplars"]}
        assert bool(found) == target["exemplar"], target["expr"]
        assert found <= traces


def test_grafana_opens_what_an_exemplar_names() -> None:
    sources = {each["uid"]: each for each in load("deploy/grafana/datasources.yml")["datasources"]}
    (way,) = sources["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert way == {"name": "trace_id", "datasourceUid": "jaeger"}
    assert sources["jaeger"]["type"] == "jaeger"
    assert {panel["datasource"]["uid"] for panel in PANELS.values()} == {"prometheus"}


def test_the_rules_are_evaluated(prometheus: Prometheus) -> None:
    prometheus.until('ALERTS{alertname="SpansLost", alertstate="firing"}')
    rules = [rule for group in prometheus.get("/api/v1/rules")["groups"] for rule in group["rules"]]
    assert {rule["name"]: rule.get("lastError", "") for rule in rules} == {rule["alert"]: "" for rule in RULES}
    assert all({"summary", "runbook"} <= set(rule["annotations"]) for rule in rules)


CALLS = 'traces_span_metrics_calls_total{service_name="web", http_route="a/", span_kind="SPAN_KIND_SERVER"'
SLOW = (
    'traces_span_metrics_duration_milliseconds_bucket{service_name="web", http_route="a/", span_kind="SPAN_KIND_SERVER"'
)
WAIT = 'clew_celery_queue_duration_seconds_bucket{messaging_destination_name="mail"'
TASKS = 'clew_celery_tasks_total{celery_task_name="mail", celery_outcome='
# What makes each alert fire, by series and their values minute by minute for half an hour.
FIRES = {
    "RequestsFail": {f'{CALLS}, http_status_class="5xx"}}': "0+1x30", f'{CALLS}, http_status_class="2xx"}}': "0+9x30"},
    "RequestsSlow": {
        f'{SLOW}, le="1000"}}': "0x30",
        f'{SLOW}, le="2500"}}': "0+9x30",
        f'{SLOW}, le="+Inf"}}': "0+9x30",
    },
    "TasksFail": {f'{TASKS}"failed"}}': "0+1x30", f'{TASKS}"succeeded"}}': "0+1x30"},
    "TasksLost": {f'{TASKS}"lost"}}': "0+1x30"},
    "QueueSlow": {f'{WAIT}, le="60"}}': "0x30", f'{WAIT}, le="300"}}': "0+9x30", f'{WAIT}, le="+Inf"}}': "0+9x30"},
    "QueueNotRead": {'messaging_client_sent_messages_total{messaging_destination_name="mail"}': "0+1x30"},
    "FindingsNew": {'clew_findings_total{clew_finding_type="n_plus_one", http_route="a/"}': "0+1x30"},
    "SpansLost": {'clew_spans_lost_total{job="web", reason="unreachable"}': "0+1x30"},
    "CollectorDown": {'up{job="collector", instance="collector:8888"}': "0x30"},
    "CollectorRefuses": {'otelcol_receiver_refused_spans_total{instance="c"}': "0+1x30"},
    "CollectorQueueFills": {
        'otelcol_exporter_queue_size{instance="c", exporter="jaeger"}': "9x30",
        'otelcol_exporter_queue_capacity{instance="c", exporter="jaeger"}': "10x30",
    },
    "CollectorDrops": {'otelcol_exporter_enqueue_failed_spans_total{instance="c", exporter="jaeger"}': "0+1x30"},
    "TracesForgottenTooEarly": {
        'otelcol_processor_tail_sampling_sampling_trace_dropped_too_early_total{instance="c"}': "0+1x30"
    },
    "TooManySeries": {'traces_span_metrics_calls_total{service_name="web", otel_metric_overflow="true"}': "1x30"},
}


def promtool(folder: Path, tests: list[dict[str, Any]]) -> str:
    (folder / "tests.yml").write_text(yaml.safe_dump({"rule_files": [str(ROOT / ALERTS)], "tests": tests}))
    ran = subprocess.run(
        ["promtool", "test", "rules", str(folder / "tests.yml")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return ran.stdout + ran.stderr


def case(series: dict[str, str], alert: str, minute: str) -> dict[str, Any]:
    given = [{"series": name, "values": values} for name, values in series.items()]
    asked = {"expr": f'count(ALERTS{{alertname="{alert}", alertstate="firing"}})', "eval_time": minute}
    return {"interval": "1m", "input_series": given, "promql_expr_test": [{**asked, "exp_samples": [{"value": 1}]}]}


@pytest.mark.parametrize("alert", [rule["alert"] for rule in RULES])
def test_an_alert_fires(alert: str, tmp_path: Path) -> None:
    assert "SUCCESS" in promtool(tmp_path, [case(FIRES[alert], alert, "29m")])


@pytest.mark.parametrize("alert", [rule["alert"] for rule in RULES])
def test_an_alert_is_silent_where_nothing_happens(alert: str, tmp_path: Path) -> None:
    quiet = {"CollectorDown": "1x30", "CollectorQueueFills": "1x30"}.get(alert, "0x30")
    series = {name: "10x30" if "capacity" in name else quiet for name in FIRES[alert]}
    if alert == "TooManySeries":
        series = {f'{CALLS}, http_status_class="2xx"}}': "1x30"}
    assert "got:[]" in promtool(tmp_path, [case(series, alert, "29m")]).replace(" ", "").replace("nil", "[]")


def test_series_of_a_big_site(demo: dict[str, Any]) -> None:
    like = next(span for span in demo["spans"] if "SERVER" in span["kind"])
    below = [span for span in demo["spans"] if "INTERNAL" in span["kind"] or "CLIENT" in span["kind"]]
    routes = [f"control/event/<organizer>/<event>/page{number}/" for number in range(100)]
    spans = [*below]
    for route in routes:
        for method in ("GET", "POST"):
            for status in (200, 302, 404, 500):
                held = {**like["attributes"], "http.route": route, "http.response.status_code": status}
                spans.append({**like, "name": f"{method} {route}", "attributes": held})
    groups = counted(spans)
    assert len(groups) == 800, "100 routes, 2 methods, 4 classes; nothing of what is below them"
    assert len(groups) * 6 <= load(SINGLE)["connectors"]["span_metrics"]["aggregation_cardinality_limit"]


def matches(prometheus: Prometheus, pattern: str, text: str) -> bool:
    """Whether Go's own regular expressions find it."""
    given = f'label_replace(vector(1), "v", {json.dumps(text.replace("$", "$$"))}, "", "")'
    (found,) = prometheus.ask(f'label_replace({given}, "hit", "yes", "v", `(?s).*(?:{pattern}).*`)')
    return "hit" in found["metric"]


def test_gos_regular_expressions_find_the_secrets(prometheus: Prometheus) -> None:
    redaction = load(SINGLE)["processors"]["redaction"]
    keys, values = redaction["blocked_key_patterns"], redaction["blocked_values"]
    assert [key for key in SECRET_KEYS if not any(matches(prometheus, each, key) for each in keys)] == []
    assert [text for text in SECRETS if not any(matches(prometheus, each, text) for each in values)] == []
    assert [text for text in HARMLESS if any(matches(prometheus, each, text) for each in values)] == []
