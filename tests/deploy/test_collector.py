"""The collectors' and Jaeger's configurations: known components, all used, and attributes clew emits."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from . import JAEGER, ROOT, SINGLE, STACKS, TIER1, TIER2, emitted_attributes, load

# What collector-contrib 0.159 calls them; the old spellings still work there as aliases, and warn.
CONTRIB = {
    "receivers": {"otlp"},
    "processors": {
        "memory_limiter",
        "resource_detection",
        "redaction",
        "tail_sampling",
        "attributes",
        "filter",
        "transform",
    },
    "connectors": {"span_metrics", "service_graph", "forward"},
    "exporters": {"otlp_grpc", "otlp_http", "load_balancing", "prometheus", "debug"},
    "extensions": {"file_storage", "health_check"},
}
# Jaeger 2.20 bundles fewer, some under the older names.
IN_JAEGER = {
    "receivers": {"otlp"},
    "processors": {"batch", "memory_limiter", "tail_sampling", "attributes"},
    "connectors": {"spanmetrics", "forward"},
    "exporters": {"jaeger_storage_exporter", "prometheus", "otlp", "otlphttp"},
    "extensions": {"jaeger_storage", "jaeger_query", "healthcheckv2", "remote_sampling"},
}
SIGNALS = {
    "span_metrics": ("traces", "metrics"),
    "service_graph": ("traces", "metrics"),
    "forward": (None, None),
}

COLLECTORS = [SINGLE, TIER1, TIER2]
SAMPLING = [SINGLE, TIER2]
ENTRANCES = [SINGLE, TIER1]

SECRET_KEYS = [
    "http.request.header.authorization",
    "http.request.header.proxy-authorization",
    "http.request.header.cookie",
    "http.response.header.set-cookie",
    "http.response.header.set_cookie",
    "http.request.header.x-api-key",
    "http.request.header.x_csrf_token",
    "user.password",
    "form.Password",
    "aws.secret",
    "access_token",
    "app.sessionid",
    "session.key",
    "session.id",
    "aws.access_key",
    "private-key",
]
SECRETS = [
    "4111 1111 1111 1111",
    "card 5500005555555559 declined",
    "2223-0031-2200-3222",
    "378282246310005",
    "6011111111111117",
    "Bearer abcdef0123456789abcdef",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
    "postgres://clew:hunter2@db:5432/clew",
    "/reset?token=abc&next=/",
    "login failed: password=hunter2",
]
HARMLESS = [
    "0f8fad5b-d9cb-469f-a165-70867728950e",
    "41111111-4111-4111-4111-411111111111",
    "4bf92f3577b34da6a3ce929d0e0e4736",
    "1763781192123456",
    "2026-11-22T03:13:12.123456Z",
    "SELECT id FROM auth_user WHERE password = %s",
    "https://example.org:8443/users/7/",
    "basic settings",
    "auth check_password",
]


def kind(component: str) -> str:
    return component.split("/")[0]


def pipelines(config: dict[str, Any]) -> dict[str, dict[str, list[str]]]:
    return config["service"]["pipelines"]


def used(config: dict[str, Any], role: str) -> set[str]:
    return {name for pipeline in pipelines(config).values() for name in pipeline.get(role, [])}


def policies(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {policy["name"]: policy for policy in config["processors"]["tail_sampling"]["policies"]}


def leaves(policy: dict[str, Any]) -> list[dict[str, Any]]:
    inner = policy[policy["type"]]
    below = inner.get(f"{policy['type']}_sub_policy", [])
    return [leaf for sub in below for leaf in leaves(sub)] or [policy]


def conditions(config: dict[str, Any]) -> list[str]:
    every = [leaf for policy in policies(config).values() for leaf in leaves(policy)]
    return [text for leaf in every if leaf["type"] == "ottl_condition" for text in leaf["ottl_condition"]["span"]]


def condition(config: dict[str, Any], name: str) -> str:
    (leaf,) = leaves(policies(config)[name])
    (text,) = leaf["ottl_condition"]["span"]
    return text


@pytest.mark.parametrize(
    ("path", "known"),
    [*((path, CONTRIB) for path in COLLECTORS), (JAEGER, IN_JAEGER)],
    ids=[*COLLECTORS, JAEGER],
)
def test_every_component_is_one_this_version_has(path: str, known: dict[str, set[str]]) -> None:
    config = load(path)
    assert set(config) <= {"service", *known}
    for section, types in known.items():
        assert {kind(name) for name in config.get(section, {})} <= types, section


@pytest.mark.parametrize("path", [*COLLECTORS, JAEGER])
def test_every_component_is_declared_and_used(path: str) -> None:
    config = load(path)
    connectors = set(config.get("connectors", {}))
    assert used(config, "processors") == set(config.get("processors", {}))
    assert used(config, "receivers") == set(config["receivers"]) | connectors
    assert used(config, "exporters") == set(config["exporters"]) | connectors
    assert set(config["service"]["extensions"]) == set(config["extensions"])


@pytest.mark.parametrize("path", SAMPLING)
def test_a_connector_leaves_one_pipeline_for_another(path: str) -> None:
    config = load(path)
    for name in config["connectors"]:
        source = [p for p, parts in pipelines(config).items() if name in parts["exporters"]]
        target = [p for p, parts in pipelines(config).items() if name in parts["receivers"]]
        assert not set(source) & set(target), f"{name} feeds itself"
        for pipeline, signal in [
            *((p, SIGNALS[kind(name)][0]) for p in source),
            *((p, SIGNALS[kind(name)][1]) for p in target),
        ]:
            assert signal in (None, kind(pipeline))


@pytest.mark.parametrize("path", COLLECTORS)
def test_memory_is_limited_where_data_comes_in(path: str) -> None:
    config = load(path)
    entrances = [parts for parts in pipelines(config).values() if "otlp" in parts["receivers"]]
    assert entrances
    assert all(parts["processors"][0] == "memory_limiter" for parts in entrances)
    limiter = config["processors"]["memory_limiter"]
    assert limiter["spike_limit_percentage"] < limiter["limit_percentage"] < 100


@pytest.mark.parametrize("path", COLLECTORS)
def test_batches_are_made_by_the_exporter(path: str) -> None:
    config = load(path)
    assert "batch" not in config["processors"]
    for name, exporter in config["exporters"].items():
        batch = exporter.get("sending_queue", {}).get("batch", {})
        assert bool(batch) == name.startswith("otlp_grpc")
        # 4 MiB is what a gRPC server accepts by default, and a span is about 1 KiB.
        assert 0 < batch.get("min_size", 1) <= batch.get("max_size", 1) <= 3000


@pytest.mark.parametrize("path", COLLECTORS)
def test_traces_wait_on_disk_for_a_backend(path: str) -> None:
    config = load(path)
    queued = [name for name in config["exporters"] if kind(name) in {"otlp_grpc", "load_balancing"}]
    assert queued
    for name in queued:
        assert config["exporters"][name]["sending_queue"]["storage"] in config["service"]["extensions"]
        queue = config["exporters"][name]["sending_queue"]
        # A tail sampler hands over one trace at a time: a queue of 2,000 requests is one of 2,000 traces.
        assert (queue["sizer"], queue["queue_size"]) == ("bytes", 1 << 30)
        assert queue.get("batch", {"sizer": "items"})["sizer"] == "items"
    storage = config["extensions"]["file_storage"]
    assert storage["create_directory"] is True, "`validate` fails where the directory is not there"
    assert storage["compaction"]["directory"] == storage["directory"], "the image has no other writable directory"


@pytest.mark.parametrize("path", SAMPLING)
def test_metrics_see_what_sampling_drops(path: str) -> None:
    config = load(path)
    before = next(parts for parts in pipelines(config).values() if "forward" in parts["exporters"])
    after = next(parts for parts in pipelines(config).values() if "forward" in parts["receivers"])
    assert {"service_graph", "forward/edges"} <= set(before["exporters"])
    assert "tail_sampling" not in before["processors"]
    counted = pipelines(config)["traces/count"]
    assert counted["receivers"] == ["forward/edges"]
    assert counted["exporters"] == ["span_metrics"]
    assert after["processors"] == ["tail_sampling", "attributes/warnings"]


@pytest.mark.parametrize("path", SAMPLING)
def test_every_policy_has_a_name_of_its_own_and_the_block_of_its_type(path: str) -> None:
    every = load(path)["processors"]["tail_sampling"]["policies"]
    assert len({policy["name"] for policy in every}) == len(every)
    below = [leaf for policy in every for leaf in leaves(policy)]
    for policy in [*every, *below]:
        assert set(policy) == {"name", "type", policy["type"]}


@pytest.mark.parametrize("path", SAMPLING)
def test_what_matters_is_kept(path: str) -> None:
    kept = policies(load(path))
    assert kept["keep-errors"]["status_code"]["status_codes"] == ["ERROR"]
    assert kept["keep-slow"]["latency"]["threshold_ms"] > 0
    assert kept["keep-some-of-the-rest"]["type"] == "probabilistic"
    assert condition(load(path), "keep-findings") == 'span.attributes["clew.findings"] != nil'


@pytest.mark.parametrize("path", SAMPLING)
def test_sampling_asks_for_attributes_clew_emits(path: str) -> None:
    asked = {name for text in conditions(load(path)) for name in re.findall(r'attributes\["([^"]+)"\]', text)}
    assert asked == {"clew.findings", "celery.outcome", "http.route"}
    assert asked <= set(emitted_attributes())


@pytest.mark.parametrize("path", SAMPLING)
def test_sampling_reads_the_attribute_it_compares(path: str) -> None:
    for text in conditions(load(path)):
        assert text.count('"') % 2 == 0
        assert text.count("(") == text.count(")")
        for name in re.findall(r'(?:== "|!= "|IsMatch\()', text):
            assert "!= nil" in text, f"{name} on an attribute that may be missing"


@pytest.mark.parametrize("path", SAMPLING)
def test_only_the_outcome_that_clew_calls_a_success_is_ordinary(path: str) -> None:
    (outcome,) = re.findall(r'!= "([^"]+)"', condition(load(path), "keep-tasks-that-did-not-succeed"))
    assert outcome in re.findall(r"\w+", emitted_attributes()["celery.outcome"])
    assert outcome.startswith("succ")


@pytest.mark.parametrize("path", SAMPLING)
def test_the_health_check_of_the_demo_is_dropped_while_it_succeeds(path: str) -> None:
    text = condition(load(path), "drop-healthy-health-checks")
    (pattern,) = re.findall(r'IsMatch\(span\.attributes\["http\.route"\], "([^"]+)"\)', text)
    checked = re.search(r"http://[^\"]+", STACKS["one"]["services"]["web"]["healthcheck"]["test"][-1])
    assert checked is not None
    path_checked = urlsplit(checked[0]).path
    # Django writes its patterns without the first slash.
    assert re.search(pattern, path_checked)
    assert re.search(pattern, path_checked.removeprefix("/"))
    assert not re.search(pattern, "shop/healthz-report/")
    assert text.endswith("and span.status.code != STATUS_CODE_ERROR")


@pytest.mark.parametrize("path", SAMPLING)
def test_late_spans_follow_the_decision(path: str) -> None:
    tail = load(path)["processors"]["tail_sampling"]
    assert tail["decision_cache"]["sampled_cache_size"] >= 10 * tail["num_traces"]
    assert tail["decision_cache"]["non_sampled_cache_size"] >= 10 * tail["num_traces"]


@pytest.mark.parametrize("path", SAMPLING)
def test_span_metrics_have_dimensions_clew_emits(path: str) -> None:
    metrics = load(path)["connectors"]["span_metrics"]
    made = {"http.status_class"}
    assert {dimension["name"] for dimension in metrics["dimensions"]} - made <= set(emitted_attributes())
    (statement, *_) = load(path)["processors"]["transform/status_class"]["trace_statements"]
    assert re.findall(r'attributes\["([^"]+)"\]', statement) == ["http.status_class", "http.response.status_code"]
    assert metrics["aggregation_cardinality_limit"] > 0
    assert metrics["metrics_expiration"]


def masked(config: dict[str, Any], key: str, value: str) -> bool:
    redaction = config["processors"]["redaction"]
    if key in redaction["ignored_keys"]:
        return False
    keys, values = redaction["blocked_key_patterns"], redaction["blocked_values"]
    return any(re.search(p, key) for p in keys) or any(re.search(p, value) for p in values)


@pytest.mark.parametrize("path", ENTRANCES)
def test_everything_that_comes_in_is_redacted(path: str) -> None:
    config = load(path)
    assert config["processors"]["redaction"]["allow_all_keys"] is True, "the list of allowed keys fails closed"
    entrances = [p for name, p in pipelines(config).items() if kind(name) == "traces" and "otlp" in p["receivers"]]
    assert entrances
    assert all(parts["processors"][-1] == "redaction" for parts in entrances)


@pytest.mark.parametrize("path", ENTRANCES)
@pytest.mark.parametrize("key", SECRET_KEYS)
def test_a_secrets_name_is_enough(path: str, key: str) -> None:
    assert masked(load(path), key, "anything")


@pytest.mark.parametrize("path", ENTRANCES)
@pytest.mark.parametrize("value", SECRETS)
def test_a_secret_is_masked_wherever_it_stands(path: str, value: str) -> None:
    assert masked(load(path), "note", value)


@pytest.mark.parametrize("path", ENTRANCES)
@pytest.mark.parametrize("value", HARMLESS)
def test_what_is_no_secret_is_left(path: str, value: str) -> None:
    assert not masked(load(path), "note", value)


@pytest.mark.parametrize("path", ENTRANCES)
def test_nothing_clew_emits_is_masked_by_its_name(path: str) -> None:
    config = load(path)
    assert len(emitted_attributes()) > 50
    assert [name for name in emitted_attributes() if masked(config, name, "")] == []


@pytest.mark.parametrize("path", ENTRANCES)
def test_an_id_that_looks_like_a_card_number_is_left(path: str) -> None:
    assert not masked(load(path), "celery.publish.span_id", "4111111111111111")


@pytest.mark.parametrize("path", ENTRANCES)
def test_redaction_says_nothing_on_spans(path: str) -> None:
    # `info` writes a count on every span that has an ignored key.
    assert load(path)["processors"]["redaction"]["summary"] == "silent"


@pytest.mark.parametrize("path", ENTRANCES)
def test_the_patterns_are_ones_go_understands(path: str) -> None:
    redaction = load(path)["processors"]["redaction"]
    for pattern in [*redaction["blocked_key_patterns"], *redaction["blocked_values"]]:
        assert not re.search(r"\(\?(?!i\)|:)|\\[1-9]", pattern), "RE2 has no look-around and no back-references"


def test_the_tiers_do_together_what_the_single_node_does() -> None:
    single, first, second = load(SINGLE), load(TIER1), load(TIER2)
    for name in ("resource_detection", "redaction", "memory_limiter"):
        assert first["processors"][name] == single["processors"][name]
    assert second["processors"]["tail_sampling"] == single["processors"]["tail_sampling"]
    assert second["connectors"] == single["connectors"]
    assert second["exporters"] == single["exporters"]
    assert first["receivers"] == single["receivers"]


def test_the_first_tier_keeps_the_spans_of_a_trace_together() -> None:
    first = load(TIER1)
    assert "tail_sampling" not in first["processors"]
    exporter = first["exporters"]["load_balancing"]
    assert exporter["routing_key"] == "traceID"
    assert "endpoint" not in exporter["protocol"]["otlp"], "the exporter fills in each address it finds"
    assert list(exporter["resolver"]) == ["dns"]
    routed = {name for name, parts in pipelines(first).items() if "load_balancing" in parts["exporters"]}
    assert {kind(name) for name in routed} == {"traces"}


def test_jaeger_stores_what_it_serves() -> None:
    config = load(JAEGER)
    backends = config["extensions"]["jaeger_storage"]["backends"]
    assert config["exporters"]["jaeger_storage_exporter"]["trace_storage"] in backends
    assert config["extensions"]["jaeger_query"]["storage"]["traces"] in backends


def jaeger_ui() -> dict[str, Any]:
    return json.loads((ROOT / "deploy/jaeger-ui.json").read_text())


def test_jaegers_window_speaks_opentelemetry() -> None:
    ui = jaeger_ui()
    assert ui["useOpenTelemetryTerms"] is True
    # What a row shows before it is opened: a finding, why the view never ran, how a task ended.
    assert ui["topTagPrefixes"] == [
        *("clew.warnings", "clew.finding", "django.view.reached", "django.response.", "celery.outcome", "celery.fate."),
        *("clew.", "http.", "django.", "celery.", "messaging.", "db."),
    ]
    assert ui["search"]["defaultLookback"] in {"5m", "15m", "30m", "1h", "2h", "3h", "6h", "12h", "24h", "2d"}


def test_the_prefixes_shown_first_are_those_of_attributes_clew_emits() -> None:
    # Database attributes come from the driver's instrumentation where there is one.
    prefixes = set(jaeger_ui()["topTagPrefixes"]) - {"db."}
    assert [p for p in prefixes if not any(name.startswith(p) for name in emitted_attributes())] == []


def test_a_message_id_leads_to_every_span_that_has_it() -> None:
    (link,) = jaeger_ui()["linkPatterns"]
    assert set(link) == {"type", "key", "url", "text"}
    assert link["type"] == "tags"
    assert link["key"] in emitted_attributes()
    assert set(re.findall(r"#\{([^{}]+)\}", link["url"] + link["text"])) == {link["key"]}
    followed = urlsplit(link["url"].replace(f"#{{{link['key']}}}", "0f8fad5b-d9cb"))
    query = {name: values[0] for name, values in parse_qs(followed.query).items()}
    assert followed.path == "/search"
    assert json.loads(query.pop("tags")) == {"messaging.message.id": "0f8fad5b-d9cb"}
    # With neither a service nor a time the page does not search; zeros mean "use the lookback".
    assert query == {"start": "0", "end": "0", "lookback": "2d", "limit": "20"}
