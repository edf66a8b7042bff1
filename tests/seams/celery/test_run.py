"""The CONSUMER span. A real worker in a thread, over kombu's memory transport; no service is needed."""

from __future__ import annotations

import contextlib
import uuid

import celery
import pytest
from celery.app.trace import build_tracer
from celery.contrib.testing.worker import start_worker
from opentelemetry import baggage, context
from opentelemetry import trace as otel
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags

import clew
from clew.seams.celery import contrib, run
from clew.seams.celery.message import metrics
from clew.seams.celery.run import running
from clew.testing import tracing
from tests.celery_site.app import ExpectedError, make_app
from tests.celery_site.worker import DEADLINE
from tests.seams.celery.conftest import instrumented, is_error, records_of, upstream
from tests.shared import until

BOTH = pytest.mark.parametrize("with_clew", [True, False], ids=["clew", "upstream"])


@pytest.fixture(scope="module")
def app():
    """An app with a worker in a thread of this process."""
    app = make_app(queue=f"clew-{uuid.uuid4().hex[:12]}")
    with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=DEADLINE):
        yield app


@pytest.fixture
def eager():
    return make_app(task_always_eager=True)


def ran(app, spans, name, *args, count=1, **options):
    """Publish, wait for the runs to end, and give their spans, in order."""
    app.tasks[name].apply_async(args, **options)
    until(lambda: len([span for span in spans() if span.name == f"run/{name}"]) >= count)
    return [span for span in spans() if span.name == f"run/{name}"]


def events(span):
    return [(event.attributes["exception.type"], event.attributes["exception.message"]) for event in span.events]


def test_a_run_is_a_child_of_its_publish_and_linked_to_it(trace, app):
    (span,) = ran(app, lambda: trace.spans, "add", 1, 2)
    publish = trace.named("apply_async/add")
    assert span.kind is SpanKind.CONSUMER
    assert span.instrumentation_scope.name == "clew.seams.celery.run"
    assert span.parent.span_id == publish.context.span_id
    assert [link.context.span_id for link in span.links] == [publish.context.span_id]
    assert span.attributes["celery.publish.span_id"] == f"{publish.context.span_id:016x}"
    assert span.attributes["celery.publish.trace_id"] == f"{publish.context.trace_id:032x}"


def test_a_run_says_what_where_and_how_it_ended(trace, app):
    (span,) = ran(app, lambda: trace.spans, "add", 1, 2, task_id="one", time_limit=60)
    queue = app.conf.task_default_queue
    held = dict(span.attributes)
    assert held.pop("celery.publish.trace_id")
    assert held.pop("celery.publish.span_id")
    assert held.pop("celery.hostname") != held.pop("celery.origin")
    assert held.pop("celery.reply_to")
    assert held.pop("code.file.path").endswith("celery_site/app.py")
    assert held.pop("code.line.number")
    assert held.pop("process.memory.delta") is not None
    assert held.pop("celery.queue_ms") >= 0
    assert held.pop("celery.prefetch_ms") >= 0
    assert held.pop("code.function.name").endswith(".add")
    assert held == {
        "celery.action": "run",
        "celery.task_name": "add",
        "celery.state": "SUCCESS",
        "celery.outcome": "succeeded",
        "celery.root_id": "one",
        "celery.timelimit": ("60", ""),
        "celery.delivery_info": str({"exchange": "", "routing_key": queue, "priority": 0, "redelivered": False}),
        "messaging.system": "memory",
        "messaging.operation.name": "run",
        "messaging.operation.type": "process",
        "messaging.message.id": "one",
        "messaging.message.conversation_id": "one",
        "messaging.conversation_id": "one",
        "messaging.destination": queue,
        "messaging.destination.name": queue,
    }


@BOTH
def test_hostname_is_the_workers(app, with_clew):
    """docs/upstream.md, celery 10 (contrib #3096): the sender's name takes the worker's place."""
    with instrumented(with_clew) as spans:
        (span,) = ran(app, spans, "add", 1, 2)
    assert span.attributes["celery.hostname"].startswith("gen") is not with_clew


def test_contribs_attributes_are_all_there_with_the_same_values(app):
    def attributes(with_clew):
        with instrumented(with_clew) as spans:
            (span,) = ran(app, spans, "add", 1, 2, task_id="fixed", time_limit=60)
            return dict(span.attributes)

    ours, theirs = attributes(True), attributes(False)
    theirs["celery.origin"], theirs["celery.hostname"] = theirs["celery.hostname"], ours["celery.hostname"]
    assert {key: ours.get(key) for key in theirs} == theirs


@pytest.mark.parametrize(
    ("name", "state", "outcome", "status", "recorded"),
    [
        ("fail", "FAILURE", "failed", True, [("ValueError", "password=[redacted]")]),
        (
            "expected",
            "FAILURE",
            "expected_failure",
            False,
            [(f"{ExpectedError.__module__}.ExpectedError", "not today")],
        ),
        ("ignore", "IGNORED", "ignored", False, []),
        ("reject", "REJECTED", "rejected", False, [("KeyError", "'bad'")]),
    ],
)
def test_every_end_is_told(trace, app, name, state, outcome, status, recorded):
    """docs/upstream.md, celery 6: contrib says nothing of Ignore, Reject and `throws`."""
    (span,) = ran(app, lambda: trace.spans, name)
    assert (span.attributes["celery.state"], span.attributes["celery.outcome"]) == (state, outcome)
    assert is_error(span) is status
    assert events(span) == recorded
    assert "hunter2" not in str([dict(event.attributes) for event in span.events]) + str(span.status.description)


@BOTH
def test_a_retry_is_no_error_and_says_why(app, with_clew):
    """docs/upstream.md, celery 6: contrib's attempts that are tried again have no exception event."""
    with instrumented(with_clew) as spans:
        first, second = ran(app, spans, "again", 1, count=2)
    assert [is_error(first), is_error(second)] == [False, False]
    assert bool(first.events) is with_clew
    if with_clew:
        assert events(first) == [("ValueError", "token=[redacted]")]
        assert first.attributes["celery.outcome"] == "retried"
        assert "abc123" not in first.attributes["celery.retry.reason"]
        assert second.attributes["celery.retries"] == 1


def test_what_a_task_does_and_sends_is_below_its_run(trace, app):
    ran(app, lambda: trace.spans, "child")
    ran(app, lambda: trace.spans, "outer")
    until(lambda: any(span.name == "run/add" for span in trace.spans))
    assert trace.tree().splitlines() == [
        "PRODUCER apply_async/child",
        "  CONSUMER run/child",
        "    user work",
        "PRODUCER apply_async/outer",
        "  CONSUMER run/outer",
        "    PRODUCER apply_async/add",
        "      CONSUMER run/add",
    ]


@pytest.mark.parametrize("protocol", [1, 2])
def test_both_protocols_are_followed(trace, app, protocol):
    """docs/upstream.md, celery 12."""
    app.conf.task_protocol = protocol
    app.amqp.__dict__.pop("create_task_message", None)
    try:
        (span,) = ran(app, lambda: trace.spans, "add", 1, 2)
    finally:
        app.conf.task_protocol = 2
        app.amqp.__dict__.pop("create_task_message", None)
    assert span.parent.span_id == trace.named("apply_async/add").context.span_id


def with_baggage(call):
    token = context.attach(baggage.set_baggage("customer", "7"))
    try:
        return call()
    finally:
        context.detach(token)


@pytest.mark.parametrize("mode", ["parent", "link"])
def test_baggage_reaches_the_task_in_both_modes(app, mode):
    """docs/upstream.md, celery 9: contrib's `use_span_links` loses it."""
    with instrumented(True, task_parent=mode) as spans:
        (span,) = with_baggage(lambda: ran(app, spans, "baggage"))
        publish = next(each for each in spans() if each.kind is SpanKind.PRODUCER)
    assert span.attributes["seen"] == "7"
    assert [link.context.span_id for link in span.links] == [publish.context.span_id]
    if mode == "link":
        assert span.parent is None
        assert span.context.trace_id != publish.context.trace_id
    else:
        assert span.parent.span_id == publish.context.span_id


def test_contribs_own_link_mode_loses_baggage(app):
    """docs/upstream.md, celery 9, upstream alone: delete ours when this fails."""
    if "use_span_links" not in (CeleryInstrumentor._instrument.__code__.co_consts or ()):
        pytest.skip("this contrib has no link mode")
    with upstream(use_span_links=True) as spans:
        (span,) = with_baggage(lambda: ran(app, spans, "baggage"))
    assert span.attributes["seen"] == "None"


def test_contribs_option_is_honoured(app):
    instrumentor = CeleryInstrumentor()
    with instrumented(True) as spans:
        instrumentor.instrument(skip_dep_check=True, use_span_links=True)
        try:
            (span,) = ran(app, spans, "add", 1, 2)
        finally:
            instrumentor.uninstrument()
        assert span.parent is None
        assert len(span.links) == 1


def test_no_task_inherits_the_context_of_the_one_before(trace, app):
    """A span that someone left current in the worker's thread is nobody's parent."""
    ran(app, lambda: trace.spans, "leak")
    trace.clear()
    (span,) = ran(app, lambda: trace.spans, "add", 1, 2)
    assert span.parent.span_id == trace.named("apply_async/add").context.span_id


def test_nothing_is_kept(trace, app):
    ran(app, lambda: trace.spans, "add", 1, 2)
    ran(app, lambda: trace.spans, "fail")
    until(lambda: not run._running)


def test_the_histogram_is_contribs(app):
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader], shutdown_on_exit=False)
    with instrumented(True) as spans:
        CeleryInstrumentor().instrument(skip_dep_check=True, meter_provider=meter)
        try:
            ran(app, spans, "add", 1, 2)
            until(lambda: not run._running)
            until(lambda: reader.get_metrics_data() is not None)
            assert contrib.histogram() is CeleryInstrumentor().metrics["flower.task.runtime.seconds"]
        finally:
            CeleryInstrumentor().uninstrument()


def test_the_histogram_is_there_without_contribs_instrumentor(trace, app, monkeypatch):
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader], shutdown_on_exit=False).get_meter("test")
    monkeypatch.setattr(contrib, "get_meter", lambda *args, **named: meter)
    monkeypatch.setattr(contrib.State, "histogram", None)
    for module in (metrics, running):
        monkeypatch.setattr(module, "is_metered", lambda: True)
    ran(app, lambda: trace.spans, "add", 1, 2)

    def points():
        data = reader.get_metrics_data()
        return data and data.resource_metrics[0].scope_metrics[0].metrics

    until(points)
    monkeypatch.setattr(contrib.State, "histogram", None)


def test_an_unsampled_run_is_followed_but_not_recorded(app):
    exporter, provider = InMemorySpanExporter(), TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing = clew.setup_tracing(tracer_provider=provider)
    try:
        app.tasks["note"].delay()
        until(lambda: app.noted)
    finally:
        tracing.shutdown()
    current = app.noted.pop().get_span_context()
    assert current.is_valid
    assert not current.trace_flags.sampled
    assert exporter.get_finished_spans() == ()


def test_system_exit_ends_the_span_and_goes_on(trace, eager):
    with pytest.raises(SystemExit):
        eager.tasks["leave"].delay()
    span = trace.named("run/leave")
    assert is_error(span)
    assert span.attributes["celery.outcome"] == "failed"
    assert span.attributes["error.type"] == "SystemExit"
    assert not run._running


def test_a_propagated_error_is_told_and_an_older_one_is_not(trace, eager):
    eager.conf.task_eager_propagates = True
    with pytest.raises(ValueError, match="hunter2"):
        eager.tasks["fail"].delay()
    assert trace.named("run/fail").attributes["celery.outcome"] == "failed"
    try:
        raise KeyError("handled")
    except KeyError:
        eager.tasks["add"].delay(1, 2)
    assert not is_error(trace.named("run/add"))


@pytest.mark.filterwarnings("ignore:Exception raised outside body:RuntimeWarning")  # Celery's
@pytest.mark.parametrize("method", ["on_failure", "after_return", "store_result", "errback"])
def test_what_raises_as_celery_deals_with_the_tasks_exception_does_not_hide_it(trace, method):
    """As a child runs it; `store_result` is the result backend's."""
    app = make_app(backend="cache+memory://")

    def broken(*_, **__):
        raise KeyError(method)

    def called_back(request, error, traceback):
        raise KeyError(method)

    task, request = app.tasks["fail"], {"id": "1", "task": "fail", "is_eager": False, "delivery_info": {}}
    if method == "errback":
        request["errbacks"] = [app.task(called_back, name="broken", shared=False).s()]
    else:
        setattr(app.backend if method == "store_result" else type(task), method, broken)
    with contextlib.suppress(KeyError):
        build_tracer("fail", task, app=app)("1", (), {}, request)
    span = trace.named("run/fail")
    assert (span.attributes["error.type"], span.status.description[:10]) == ("ValueError", "ValueError")
    # From Celery 5.7 on these two are logged, and nothing else comes of it.
    is_logged = celery.VERSION >= (5, 7) and method in ("after_return", "errback")
    assert span.attributes.get("celery.handling_error") == (None if is_logged else "KeyError")
    told = [kind for kind, _ in events(span)]
    if method == "errback":
        told += [kind for kind, _ in events(trace.named("errback broken"))]
    assert told == (["ValueError"] if is_logged and method == "after_return" else ["ValueError", "KeyError"])


def test_a_task_may_return_an_exception(trace, eager):
    @eager.task(shared=False)
    def give():
        return ValueError("a result")

    give.delay()
    (span,) = [each for each in trace.spans if each.kind is SpanKind.CONSUMER]
    assert span.attributes["celery.outcome"] == "succeeded"


def test_contrib_warns_of_nothing(app, caplog):
    with instrumented(True) as spans:
        ran(app, spans, "add", 1, 2)
        ran(app, spans, "fail")
    assert records_of(caplog, "opentelemetry") == []
    assert otel.get_current_span() is otel.INVALID_SPAN


def test_arguments_in_celerys_own_message_are_not_recorded(trace, app):
    """`Can't retry poll[id] args:(...) kwargs:{...}`, when the retries are exhausted."""

    @app.task(name="exhausted", bind=True, max_retries=0, shared=False)
    def exhausted(self, card, **more):
        raise self.retry()

    exhausted.apply(("4111-1111",), {"note": "4222-2222"})
    span = trace.named("run/exhausted")
    said = str([dict(event.attributes) for event in span.events]) + str(span.status.description)
    assert "MaxRetriesExceededError" in said
    assert "4111" not in said
    assert "4222" not in said


def test_an_unsampled_run_is_not_described(app, monkeypatch):
    """What would be thrown away is not worked out."""
    asked = []
    described = run.run_attributes
    monkeypatch.setattr(run, "run_attributes", lambda *args: asked.append(args) or described(*args))
    unsampled = NonRecordingSpan(SpanContext(7, 8, False, TraceFlags(0)))
    with tracing() as trace:
        token = context.attach(otel.set_span_in_context(unsampled))
        app.tasks["add"].apply((1, 2))
        assert not asked
        context.detach(token)
        app.tasks["add"].apply((1, 2))
        assert len(asked) == len(trace.spans) == 1
