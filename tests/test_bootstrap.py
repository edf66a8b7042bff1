"""Setting up: once, on what is there, and undone to the identical objects."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import textwrap
import warnings

import pytest
from opentelemetry import trace as otel
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import clew
from clew.bootstrap import active
from clew.seams import seams

# The oldest versions are tested without.
OPTIONAL = ("gevent", "graphql", "channels", "daphne", "hypercorn", "uvicorn.protocols.websockets")


@pytest.fixture(autouse=True)
def nothing_stays_set_up():
    yield
    if (handle := active()) is not None:
        handle.shutdown()


def provider_with_memory():
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider, exporter


def patched_places():
    """Every attribute any seam stands at, as it is now."""
    found = {}
    for seam in seams():
        for patch in seam.patches:
            if not patch.need.applies:
                continue  # to this version
            *parents, name = patch.path.split(".")
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # uvicorn's way of using `websockets`
                    owner = importlib.import_module(patch.module)
            except ModuleNotFoundError:
                assert patch.module.startswith(OPTIONAL), patch.module
                continue
            try:
                for parent in parents:
                    owner = getattr(owner, parent)
            except AttributeError:
                continue
            if hasattr(owner, name):  # not every version has every place
                found[patch.module, patch.path] = vars(owner).get(name)
    return found


def test_twice_then_shutdown_leaves_the_identical_objects():
    before = patched_places()
    provider, _ = provider_with_memory()
    processors = provider._active_span_processor._span_processors
    first = clew.setup_tracing(tracer_provider=provider)
    during = patched_places()
    second = clew.setup_tracing(service_name="other", tracer_provider=provider)
    assert first is second
    # Signals get receivers, not wrappers.
    assert {key for key in before if during[key] is before[key]} - {
        key for key in before if key[0] == "celery.signals"
    } == set()
    assert patched_places() == during
    first.shutdown()
    first.shutdown()
    after = patched_places()
    assert {key for key in before if after[key] is not before[key]} == set()
    assert provider._active_span_processor._span_processors == processors


def test_a_second_call_adds_what_it_says_anew():
    provider, _ = provider_with_memory()
    handle = clew.setup_tracing(tracer_provider=provider, detail="all")
    assert clew.setup_tracing(task_parent="link") is handle
    found = handle.resolved.settings
    assert (found.detail, found.task_parent) == ("all", "link")
    with pytest.raises(clew.SettingsError):
        clew.setup_tracing(nonsense=1)
    handle.shutdown()


def test_a_provider_that_is_there_keeps_its_exporters_and_gets_no_second_one():
    provider, exporter = provider_with_memory()
    handle = clew.setup_tracing(tracer_provider=provider)
    provider.get_tracer("app").start_span("mine").end()
    handle.shutdown()
    provider.get_tracer("app").start_span("after").end()
    assert [span.name for span in exporter.get_finished_spans()] == ["mine", "after"]


def test_a_switched_off_seam_is_not_patched():
    before = patched_places()
    provider, _ = provider_with_memory()
    handle = clew.setup_tracing(tracer_provider=provider, django_view=False)
    place = ("django.core.handlers.base", "BaseHandler.make_view_atomic")
    assert patched_places()[place] is before[place]
    handle.shutdown()


def test_disabled_patches_nothing(monkeypatch):
    before = patched_places()
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    handle = clew.setup_tracing()
    assert handle.force_flush() is True
    assert patched_places() == before
    handle.shutdown()
    monkeypatch.delenv("OTEL_SDK_DISABLED")
    handle = clew.setup_tracing(enabled=False)
    assert patched_places() == before
    handle.shutdown()


def run(code, **env):
    base = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "CLEW_", "DJANGO_"))}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**base, "OTEL_TRACES_EXPORTER": "none", "PYTHONPATH": os.getcwd(), **env},
    )


def printed(code, **env):
    done = run(code, **env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


REPORT = """
    import json
    from opentelemetry import trace
    provider = trace.get_tracer_provider()
    print(json.dumps(dict(provider.resource.attributes)))
"""


def test_resource_and_default_service_name():
    resource, _ = printed(
        "import clew; clew.setup_tracing()" + textwrap.dedent(REPORT), DJANGO_SETTINGS_MODULE="shop.settings"
    )
    assert (resource["telemetry.distro.name"], resource["service.name"]) == ("clew", "shop")
    assert resource["telemetry.distro.version"] == clew.__version__
    resource, _ = printed("import clew; clew.setup_tracing('mine')" + textwrap.dedent(REPORT), OTEL_SERVICE_NAME="env")
    assert resource["service.name"] == "mine"
    resource, _ = printed("import clew; clew.setup_tracing()" + textwrap.dedent(REPORT), OTEL_SERVICE_NAME="env")
    assert resource["service.name"] == "env"


@pytest.mark.parametrize("variable", ["OTEL_TRACES_SAMPLER", "OTEL_PYTHON_ID_GENERATOR"])
def test_a_name_nobody_provides_is_one_line_and_tracing_goes_on(variable):
    done = run("import clew; assert clew.setup_tracing().is_active", **{variable: "nonsense"})
    assert done.returncode == 0, done.stderr
    assert f"clew: {variable}='nonsense' could not be used" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_wrong_protocol_is_one_line_and_tracing_goes_on():
    done = run(
        "import clew; assert clew.setup_tracing().is_active",
        OTEL_TRACES_EXPORTER="otlp",
        OTEL_EXPORTER_OTLP_PROTOCOL="carrier-pigeon",
    )
    assert done.returncode == 0, done.stderr
    assert "carrier-pigeon" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_provider_that_is_not_the_sdks_is_left_alone():
    done = run("""
        import clew
        from opentelemetry import trace
        class Theirs(trace.TracerProvider):
            def get_tracer(self, *args, **kwargs): return trace.NoOpTracer()
        trace.set_tracer_provider(Theirs())
        assert not clew.setup_tracing().is_active
    """)
    assert done.returncode == 0, done.stderr
    assert "clew needs that one and stays off" in done.stderr


def test_set_up_from_settings_and_read_clew_from_there(tmp_path):
    (tmp_path / "mysite.py").write_text(
        "import clew\nclew.setup_tracing()\nCLEW = {'DETAIL': 'all', 'NONSENSE': 1, 'DJANGO_VIEW': False}\n"
        "MIDDLEWARE = []\nROOT_URLCONF = 'tests.site.urls'\n"
    )
    result, errors = printed(
        """
        import json, django
        django.setup()
        from clew.bootstrap import active
        from clew.seams import seams
        found = active().resolved
        print(json.dumps([found.settings.detail, found.sources["detail"],
                          [seam.name for seam in seams() if not seam.is_installed]]))
        """,
        DJANGO_SETTINGS_MODULE="mysite",
        PYTHONPATH=f"{tmp_path}:{os.getcwd()}",
    )
    assert result == ["all", "settings CLEW", ["django.view"]]
    assert errors.strip() == "clew: unknown setting 'nonsense' (settings CLEW); `clew settings` lists them"


def wrapped(tmp_path, code, **env):
    script = tmp_path / "program.py"
    script.write_text(textwrap.dedent(code))
    program = "from opentelemetry.instrumentation.auto_instrumentation import run; run()"
    base = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "CLEW_", "DJANGO_"))}
    settings = {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
    return subprocess.run(
        [sys.executable, "-c", program, sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**base, **settings, "PYTHONPATH": os.getcwd(), **env},
    )


def test_the_wrapper_never_configures_settings_for_the_user(tmp_path):
    """Defect 1, contrib #677, #1707, #2023: without DJANGO_SETTINGS_MODULE contrib configures empty settings."""
    code = """
        import os
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.site.settings")
        import django
        django.setup()
        from django.conf import settings
        print("django.contrib.auth" in settings.INSTALLED_APPS, settings.ROOT_URLCONF)
        from clew.bootstrap import active
        print(active().is_active)
    """
    done = wrapped(tmp_path, code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", "tests.site.urls", "True"]
    assert done.stderr == ""
    alone = wrapped(tmp_path, code, OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="clew")
    assert alone.returncode != 0, "contrib has mended #677: the stand-in settings can go"


def test_a_settings_module_that_does_not_exist_is_found_by_the_application(tmp_path):
    code = """
        from django.conf import settings
        try:
            settings.DEBUG
        except ModuleNotFoundError as error:
            print(error)
    """
    done = wrapped(tmp_path, code, DJANGO_SETTINGS_MODULE="no.such.module")
    assert done.stdout.strip() == "No module named 'no'", done.stderr


def test_the_wrapper_warns_of_a_wrong_setting_and_goes_on(tmp_path):
    done = wrapped(tmp_path, "print('ran')", CLEW_DETAIL="everything")
    assert done.stdout.strip() == "ran"
    assert "clew: setting 'detail' (environment) must be 'default' or 'all', not 'everything'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("disabled", ["*", "django", ""])
def test_the_wrapper_composes_with_disabled_instrumentations_and_the_stock_distro(tmp_path, disabled):
    code = """
        import os
        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.site.settings"
        import django
        django.setup()
        from opentelemetry import trace
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        memory = InMemorySpanExporter()
        trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(memory))
        from django.test import Client
        Client().get("/plain/")
        print([span.kind.name for span in memory.get_finished_spans()].count("SERVER"))
    """
    done = wrapped(tmp_path, code, OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=disabled)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "1"


def test_contrib_instrumented_before_us_makes_no_second_span():
    result, _ = printed("""
        import json, os
        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.site.settings"
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        memory = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(memory))
        trace.set_tracer_provider(provider)
        from opentelemetry.instrumentation.django import DjangoInstrumentor
        DjangoInstrumentor().instrument()
        import django
        django.setup()
        from django.test import Client
        client = Client()
        client.get("/plain/")
        import clew
        handle = clew.setup_tracing()
        client.get("/plain/")
        Client().get("/plain/")
        handle.shutdown()
        Client().get("/plain/")
        found = [span for span in memory.get_finished_spans() if "GET" in span.name]
        scopes = [span.instrumentation_scope.name.split(".")[0] for span in found]
        print(json.dumps([[span.name, span.kind.name, scope] for span, scope in zip(found, scopes)]))
    """)
    server = ["GET plain/", "SERVER"]
    assert result == [
        [*server, "opentelemetry"],
        [*server, "clew"],
        [*server, "clew"],
        [*server, "opentelemetry"],
    ]


def test_force_flush_is_bounded():
    done = run(
        """
        import time, clew
        from opentelemetry import trace
        handle = clew.setup_tracing()
        trace.get_tracer("app").start_span("lost").end()
        began = time.monotonic()
        assert handle.force_flush(300) is False
        assert time.monotonic() - began < 5, "the SDK's own takes 6 s and more"
        """,
        OTEL_TRACES_EXPORTER="otlp",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
    )
    assert done.returncode == 0, done.stderr


def test_get_tracer_provider_is_the_applications():
    assert isinstance(otel.get_tracer_provider(), otel.TracerProvider)
