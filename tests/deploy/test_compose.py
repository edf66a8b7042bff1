"""The compose files against each other, the configurations they mount and the Dockerfile they build."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import Any
from urllib.parse import urlsplit

import pytest

from . import BASE, JAEGER, LAYER, ROOT, SINGLE, STACKS, TIER1, TIER2, load, published, volumes

PINNED = re.compile(r"[a-z0-9./-]+:v?\d+\.\d+(\.\d+)?(-[a-z0-9.]+)*")
DEMO = ("web", "worker", "beat")
CONFIG = "/etc/otelcol-contrib/config.yaml"

pytestmark = pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)


def services(stack: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return stack["services"]


def collectors(stack: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        name: service
        for name, service in services(stack).items()
        if service["image"].startswith("otel/opentelemetry-collector-contrib:")
    }


def config_of(collector: dict[str, Any]) -> dict[str, Any]:
    return load(volumes(collector)[CONFIG])


def port_of(endpoint: str) -> int:
    return int(endpoint.rsplit(":", 1)[1])


def interpolated(value: str) -> str:
    """Return the value compose uses when the environment says nothing."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


def test_the_whole_picture_is_there(stack: dict[str, Any]) -> None:
    expected = {"web", "worker", "beat", "postgres", "redis", "rabbitmq", "jaeger", "collector"}
    assert expected <= set(services(stack))
    assert not any("profiles" in services(stack)[name] for name in expected)


def test_every_image_is_pinned(stack: dict[str, Any]) -> None:
    assert [s["image"] for s in services(stack).values() if not PINNED.fullmatch(s["image"])] == []


def test_the_versions_are_those_the_configurations_are_written_for(stack: dict[str, Any]) -> None:
    assert services(stack)["jaeger"]["image"].endswith("/jaeger:2.20.0")
    assert {service["image"].split(":")[1] for service in collectors(stack).values()} == {"0.159.0"}


def test_what_a_service_waits_for_exists_and_can_say_so(stack: dict[str, Any]) -> None:
    for name, service in services(stack).items():
        for needed, how in service["depends_on"].items():
            target = services(stack)[needed]
            if how["condition"] == "service_healthy":
                assert "healthcheck" in target, f"{name} waits for {needed}, which has no health check"
            elif how["condition"] == "service_completed_successfully":
                assert target["restart"] == "no", f"{name} waits for the end of {needed}, which restarts"
            else:
                assert how["condition"] == "service_started"


def test_no_service_waits_for_itself(stack: dict[str, Any]) -> None:
    waiting = {name: set(service["depends_on"]) for name, service in services(stack).items()}
    while ready := {name for name, needs in waiting.items() if not needs & set(waiting)}:
        waiting = {name: needs for name, needs in waiting.items() if name not in ready}
    assert waiting == {}


def test_a_health_check_is_bounded(stack: dict[str, Any]) -> None:
    checks = [service["healthcheck"] for service in services(stack).values() if "healthcheck" in service]
    assert len(checks) >= 6
    assert all({"test", "interval", "timeout", "retries"} <= set(check) for check in checks)
    assert all(check["test"][0] in {"CMD", "CMD-SHELL"} for check in checks)


def test_an_image_without_a_shell_has_no_health_check(stack: dict[str, Any]) -> None:
    assert [name for name, service in collectors(stack).items() if "healthcheck" in service] == []


def test_only_this_machine_reaches_the_published_ports(stack: dict[str, Any]) -> None:
    ports = [port for service in services(stack).values() for port in service["ports"]]
    assert [port for port in ports if not re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)] == []
    on_the_host = [port.split(":")[1] for port in ports]
    assert len(on_the_host) == len(set(on_the_host))


def test_every_service_is_bounded(stack: dict[str, Any]) -> None:
    for name, service in services(stack).items():
        assert re.fullmatch(r"\d+[mg]", service["mem_limit"]), name
        assert {"max-size", "max-file"} <= set(service["logging"]["options"]), name
        assert service["restart"] == ("no" if name == "collector-storage" else "unless-stopped")


def test_volumes_are_declared_and_files_are_there(stack: dict[str, Any]) -> None:
    sources = {source for service in services(stack).values() for source in volumes(service).values()}
    files = {source for source in sources if source.startswith(".")}
    assert sources - files == set(stack["volumes"])
    assert [source for source in files if not (ROOT / source).is_file()] == []


def test_mounted_files_are_read_only(stack: dict[str, Any]) -> None:
    mounts = [volume for service in services(stack).values() for volume in service["volumes"]]
    assert [m for m in mounts if m.startswith(".") and not m.endswith(":ro")] == []


def test_no_credential_but_the_local_one(stack: dict[str, Any]) -> None:
    for service in services(stack).values():
        for key, value in service["environment"].items():
            if re.search("PASS|SECRET|TOKEN|KEY", key):
                assert value == "clew"
            assert urlsplit(interpolated(value)).password in {None, "clew"}


def test_the_demo_sends_to_a_collector_that_listens(stack: dict[str, Any]) -> None:
    for name in DEMO:
        environment = services(stack)[name]["environment"]
        endpoint = urlsplit(environment["OTEL_EXPORTER_OTLP_ENDPOINT"])
        protocols = config_of(services(stack)[endpoint.hostname])["receivers"]["otlp"]["protocols"]
        protocol = protocols[environment["OTEL_EXPORTER_OTLP_PROTOCOL"]]
        assert port_of(protocol["endpoint"]) == endpoint.port


def test_the_demo_services_have_names_of_their_own(stack: dict[str, Any]) -> None:
    names = [services(stack)[name]["environment"]["OTEL_SERVICE_NAME"] for name in DEMO]
    assert names == ["clew-demo-web", "clew-demo-worker", "clew-demo-beat"]


def test_the_demo_finds_its_broker(stack: dict[str, Any]) -> None:
    broker = services(stack)["rabbitmq"]["environment"]
    for name in DEMO:
        url = urlsplit(interpolated(services(stack)[name]["environment"]["CLEW_DEMO_BROKER"]))
        assert (url.scheme, url.hostname, url.port) == ("amqp", "rabbitmq", 5672)
        assert url.username == broker["RABBITMQ_DEFAULT_USER"]
        assert url.password == broker["RABBITMQ_DEFAULT_PASS"]


def test_the_demo_finds_its_database(stack: dict[str, Any]) -> None:
    database = services(stack)["postgres"]["environment"]
    for name in DEMO:
        url = urlsplit(services(stack)[name]["environment"]["CLEW_DEMO_DATABASE"])
        assert (url.scheme, url.hostname, url.port) == ("postgres", "postgres", 5432)
        assert url.username == database["POSTGRES_USER"]
        assert url.password == database["POSTGRES_PASSWORD"]
        assert url.path == f"/{database['POSTGRES_DB']}"


def test_the_demo_waits_for_what_it_uses(stack: dict[str, Any]) -> None:
    for name in DEMO:
        assert {"postgres", "rabbitmq", "redis", "collector"} <= set(services(stack)[name]["depends_on"])


def test_the_site_is_checked_and_published_where_it_listens(stack: dict[str, Any]) -> None:
    web = services(stack)["web"]
    command = web["command"]
    port = int(command[command.index("--port") + 1])
    checked = re.search(r"http://\S+?/healthz", web["healthcheck"]["test"][-1])
    assert checked is not None
    assert urlsplit(checked[0]).port == port
    assert published(web) == {port}
    assert command[command.index("--host") + 1] == "0.0.0.0"


def test_the_worker_is_asked_through_the_demos_own_celery_app(stack: dict[str, Any]) -> None:
    test = services(stack)["worker"]["healthcheck"]["test"][-1]
    module = re.search(r"-A (\S+) inspect ping", test)
    assert module is not None
    path = ROOT / "src" / module[1].replace(".", "/")
    assert path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def test_the_database_is_asked_about_the_one_it_serves(stack: dict[str, Any]) -> None:
    database = services(stack)["postgres"]
    test = database["healthcheck"]["test"]
    assert test[test.index("-U") + 1] == database["environment"]["POSTGRES_USER"]
    assert test[test.index("-d") + 1] == database["environment"]["POSTGRES_DB"]


def test_jaeger_is_checked_and_published_where_it_listens(stack: dict[str, Any]) -> None:
    jaeger, extensions = services(stack)["jaeger"], load(JAEGER)["extensions"]
    checked = urlsplit(jaeger["healthcheck"]["test"][-1])
    assert checked.port == port_of(extensions["healthcheckv2"]["http"]["endpoint"])
    assert checked.path == "/status"
    assert published(jaeger) == {port_of(extensions["jaeger_query"]["http"]["endpoint"])}


def test_jaeger_reads_the_files_that_are_mounted(stack: dict[str, Any]) -> None:
    jaeger = services(stack)["jaeger"]
    assert volumes(jaeger)[jaeger["command"][-1]] == f"./{JAEGER}"
    ui = load(JAEGER)["extensions"]["jaeger_query"]["ui"]["config_file"]
    assert volumes(jaeger)[ui] == "./deploy/jaeger-ui.json"


def test_a_collector_reads_the_file_that_is_mounted(stack: dict[str, Any]) -> None:
    for name, collector in collectors(stack).items():
        assert collector["command"] == [f"--config={CONFIG}"]
        single = "two" if "collector-tier2-a" in services(stack) else "one"
        expected = {"one": SINGLE, "two": TIER1 if name == "collector" else TIER2}[single]
        assert volumes(collector)[CONFIG] == f"./{expected}"


def test_a_collector_is_published_where_it_listens(stack: dict[str, Any]) -> None:
    for name, collector in collectors(stack).items():
        config = config_of(collector)
        protocols = config["receivers"]["otlp"]["protocols"].values()
        otlp = {port_of(protocol["endpoint"]) for protocol in protocols}
        health = port_of(config["extensions"]["health_check"]["endpoint"])
        metrics = port_of(config["exporters"]["prometheus"]["endpoint"])
        ways_in = otlp if name == "collector" else set()
        assert published(collector) == {health, metrics} | ways_in


def test_a_collector_sends_to_services_that_listen(stack: dict[str, Any]) -> None:
    listening = port_of(load(JAEGER)["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"])
    for collector in collectors(stack).values():
        for name, exporter in config_of(collector)["exporters"].items():
            if name.startswith("otlp_grpc"):
                assert exporter["endpoint"] == f"jaeger:{listening}"
                assert collector["depends_on"]["jaeger"]["condition"] == "service_healthy"


def test_a_collectors_queue_is_a_volume_it_may_write_to(stack: dict[str, Any]) -> None:
    storage = services(stack)["collector-storage"]
    assert storage["command"] == ["chown", "-R", "10001:10001", "/storage"]
    given = {source for target, source in volumes(storage).items() if target.startswith("/storage/")}
    queues = [volumes(c)[config_of(c)["extensions"]["file_storage"]["directory"]] for c in collectors(stack).values()]
    assert len(queues) == len(set(queues)), "two collectors share a queue on disk"
    assert set(queues) == given
    waits = {c["depends_on"]["collector-storage"]["condition"] for c in collectors(stack).values()}
    assert waits == {"service_completed_successfully"}


def test_a_collectors_variables_are_set_or_have_a_default(stack: dict[str, Any]) -> None:
    for collector in collectors(stack).values():
        text = (ROOT / volumes(collector)[CONFIG]).read_text()
        for name, default in re.findall(r"\$\{env:(\w+)(:-[^}]*)?\}", text):
            assert default or name in collector["environment"]


def test_go_collects_garbage_before_the_kernel_kills(stack: dict[str, Any]) -> None:
    megabytes = {"m": 1, "g": 1024}
    for service in [*collectors(stack).values(), services(stack)["jaeger"]]:
        limit = int(service["mem_limit"][:-1]) * megabytes[service["mem_limit"][-1]]
        soft = int(service["environment"]["GOMEMLIMIT"].removesuffix("MiB"))
        assert limit // 2 < soft < limit


def test_tier_one_finds_every_collector_of_tier_two(stack: dict[str, Any]) -> None:
    exporter = config_of(services(stack)["collector"])["exporters"].get("load_balancing")
    second = {name: s for name, s in collectors(stack).items() if name != "collector"}
    assert bool(exporter) == bool(second)
    for service in second.values():
        dns = exporter["resolver"]["dns"]
        assert dns["hostname"] in service["networks"]["default"]["aliases"]
        listening = config_of(service)["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"]
        assert port_of(listening) == int(dns["port"])


def test_the_demo_image_is_built_from_what_is_there(stack: dict[str, Any]) -> None:
    for name in DEMO:
        build = services(stack)[name]["build"]
        assert (ROOT / build["context"] / build["dockerfile"]).is_file()
    dockerfile = (ROOT / services(stack)["web"]["build"]["dockerfile"]).read_text()
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE)
    paths = [path for line in copied for path in line.split()]
    assert {"src", "pyproject.toml"} <= set(paths)
    assert [path for path in paths if not (ROOT / path).exists()] == []
    sent = (ROOT / "deploy/demo.Dockerfile.dockerignore").read_text().split()
    assert {f"!{path}" for path in paths} <= set(sent)


def test_the_demo_image_is_pinned_and_runs_as_nobody_in_particular(stack: dict[str, Any]) -> None:
    dockerfile = (ROOT / services(stack)["web"]["build"]["dockerfile"]).read_text()
    images = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    assert images
    assert all(PINNED.fullmatch(image) for image in images)
    assert len(set(images)) == 1, "the virtual environment is copied between unequal images"
    users = re.findall(r"^USER (\d+)$", dockerfile, re.MULTILINE)
    assert users
    assert "0" not in users
    assert '".[demo]"' in dockerfile


def _compose_cli() -> list[str] | None:
    docker = shutil.which("docker")
    if docker is None:
        return None
    answer = subprocess.run([docker, "compose", "version"], capture_output=True, check=False, timeout=30)
    return [docker, "compose"] if answer.returncode == 0 else None


def test_compose_itself_accepts_the_files(stack: dict[str, Any]) -> None:
    cli = _compose_cli()
    if cli is None:
        pytest.skip("no docker compose on this machine")
    files = [BASE, LAYER] if "collector-tier2-a" in services(stack) else [BASE]
    options = [option for file in files for option in ("-f", file)]
    run = subprocess.run(
        [*cli, *options, "config", "-q"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert run.returncode == 0, run.stderr
