"""The PRODUCER span, the context it puts into the message, and contrib's stepping aside. No service is needed."""

from __future__ import annotations

import contextvars
import inspect
from unittest.mock import Mock

import pytest
from celery import Celery, chain, chord, group, signature
from celery.exceptions import AlwaysEagerIgnored
from kombu import Producer
from kombu.exceptions import OperationalError
from opentelemetry import baggage, context, propagate
from opentelemetry import trace as otel
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.trace import SpanKind, get_current_span

from clew.seams.celery.message.attributes import publishing_broker
from tests.celery_site.app import make_app
from tests.seams.celery.conftest import current, instrumented, is_error, records_of, upstream

REFUSING = "amqp://guest:secret@127.0.0.1:1//"
BOTH = pytest.mark.parametrize("with_clew", [True, False], ids=["clew", "upstream"])


def messages(app, count=1):
    """Headers and body of what was published."""
    found = []
    with app.connection() as connection, connection.SimpleQueue(app.conf.task_default_queue) as queue:
        for _ in range(count):
            message = queue.get(timeout=5)
            message.ack()
            found.append((message.headers, message.payload))
    return found


def refused_by(app):
    app.conf.task_publish_retry = False
    app.conf.broker_transport_options = {"max_retries": 1, "interval_start": 0, "interval_step": 0}
    return app


def span_id(span):
    return f"{span.context.trace_id:032x}-{span.context.span_id:016x}"


def test_a_publish_says_what_where_and_to_which_broker(trace, app):
    result = app.tasks["add"].apply_async((1, 2), retries=1)
    span = trace.named("apply_async/add")
    assert span.kind is SpanKind.PRODUCER
    assert span.instrumentation_scope.name == "clew.seams.celery.publish"
    assert dict(span.attributes) == {
        "celery.action": "apply_async",
        "celery.task_name": "add",
        "celery.root_id": result.id,
        "celery.retries": 1,
        "messaging.system": "memory",
        "messaging.operation.name": "apply_async",
        "messaging.operation.type": "send",
        "messaging.message.id": result.id,
        "messaging.message.conversation_id": result.id,
        "messaging.destination": app.conf.task_default_queue,
        "messaging.destination.name": app.conf.task_default_queue,
        "messaging.destination_kind": "queue",
    }


def test_contribs_attributes_are_all_there_with_the_same_values(app):
    def attributes(with_clew):
        with instrumented(with_clew) as spans:
            app.tasks["add"].apply_async((1, 2), task_id="fixed")
            return dict(spans()[0].attributes)

    ours, theirs = attributes(True), attributes(False)
    assert {key: ours.get(key) for key in theirs} == theirs


@pytest.mark.parametrize(
    "publish",
    [
        lambda app: app.tasks["add"].delay(1, 2),
        lambda app: app.tasks["add"].apply_async((1, 2)),
        lambda app: app.tasks["add"].s(1, 2).delay(),
        lambda app: app.send_task("add", (1, 2)),
        lambda app: app.send_task("nobody.knows.it", (1, 2)),
        lambda app: signature("nobody.knows.it", (1, 2), app=app).delay(),
        lambda app: group([app.tasks["add"].s(1, 2)], app=app).delay(),
        lambda app: chain(app.tasks["add"].s(1, 2), app.tasks["add"].s(3), app=app).delay(),
    ],
)
@pytest.mark.parametrize("protocol", [2, 1])
def test_every_way_to_publish_is_one_span_whose_context_travels(trace, app, publish, protocol):
    """docs/upstream.md, celery 12: protocol 1 begins with empty headers, and contrib puts nothing into those."""
    app.conf.task_protocol = protocol
    publish(app)
    (span,) = trace.spans
    ((headers, _),) = messages(app)
    assert headers["traceparent"] == f"00-{span_id(span)}-03" or headers["traceparent"] == f"00-{span_id(span)}-01"


@BOTH
def test_protocol_1_carries_the_context(app, with_clew):
    """docs/upstream.md, celery 12."""
    app.conf.task_protocol = 1
    with instrumented(with_clew):
        app.tasks["add"].delay(1, 2)
    ((headers, _),) = messages(app)
    assert ("traceparent" in headers) is with_clew


def test_a_group_is_one_span_for_each_message_with_its_ids(trace, app):
    result = group([app.tasks["add"].s(number, 1) for number in range(3)], app=app).delay()
    sent = [span for span in trace.spans if span.name == "apply_async/add"]
    assert [span.attributes["celery.group_id"] for span in sent] == [result.id] * 3
    assert [span.attributes["celery.group_index"] for span in sent] == [0, 1, 2]
    assert {span.attributes["messaging.message.id"] for span in sent} == {each.id for each in result}


def test_a_chords_header_is_published(trace, tmp_path):
    (tmp_path / "results").mkdir()
    app = make_app(queue="clew-chord", backend=f"file://{tmp_path}/results")
    chord([app.tasks["add"].s(1, 1), app.tasks["add"].s(2, 2)], app.tasks["total"].s(), app=app).delay()
    assert sorted(span.name for span in trace.spans) == [
        "apply_async/add",
        "apply_async/add",
        "apply_async/celery.chord_unlock",
        "canvas chord",
    ]


def test_baggage_travels(trace, app):
    token = context.attach(baggage.set_baggage("customer", "7"))
    try:
        app.tasks["add"].delay(1, 2)
    finally:
        context.detach(token)
    assert messages(app)[0][0]["baggage"] == "customer=7"


def test_the_callers_headers_are_sent_and_stay_as_they_were(trace, app):
    shared = {"tenant": "a"}
    for _ in range(2):
        app.tasks["add"].apply_async((1, 2), headers=shared)
    assert shared == {"tenant": "a"}
    sent = [headers for headers, _ in messages(app, 2)]
    assert [headers["tenant"] for headers in sent] == ["a", "a"]
    assert [headers["traceparent"][3:-3] for headers in sent] == [span_id(span) for span in trace.spans]


def test_an_eager_setting_that_has_no_effect_warns_with_the_applications_line(trace, eager):
    with pytest.warns(AlwaysEagerIgnored) as caught:
        eager.send_task("add", (1, 2))
    line = inspect.currentframe().f_lineno - 1
    assert [(each.filename, each.lineno) for each in caught] == [(__file__, line)]


def test_headers_of_another_publish_are_replaced(trace, app):
    old = {"traceparent": f"00-{1:032x}-{2:016x}-01", "tracestate": "vendor=old"}
    app.tasks["add"].apply_async((1, 2), headers=old)
    ((headers, _),) = messages(app)
    assert headers["traceparent"][3:-3] == span_id(trace.spans[0])
    assert "tracestate" not in headers


def test_stamps_travel_too(trace, app):
    app.tasks["add"].apply_async((1, 2), stamped_headers=["tenant"], tenant="a")
    ((headers, _),) = messages(app)
    assert headers["stamps"] == {"tenant": "a"}
    assert headers["traceparent"][3:-3] == span_id(trace.spans[0])


def test_it_is_a_child_of_what_is_current_and_nothing_stays_current(trace, app):
    with otel.get_tracer("user").start_as_current_span("view") as view:
        app.tasks["add"].delay(1, 2)
        assert get_current_span() is view
    assert trace.named("apply_async/add").parent.span_id == trace.named("view").context.span_id


def test_arguments_and_credentials_are_not_recorded(trace):
    app = refused_by(make_app(REFUSING))
    with pytest.raises(OperationalError):
        app.send_task("add", ("argument-value",), {"key": "keyword-value"})
    (span,) = trace.spans
    told = str(dict(span.attributes)) + str([dict(event.attributes) for event in span.events])
    for secret in ("argument-value", "keyword-value", "secret"):
        assert secret not in told
    assert (span.attributes["messaging.system"], span.attributes["server.address"]) == ("rabbitmq", "127.0.0.1")
    assert span.attributes["server.port"] == 1


@BOTH
def test_a_refused_publish_ends_with_its_error_and_stays_nobodys_parent(with_clew):
    """docs/upstream.md, celery 1: contrib's span is never ended, and every later span becomes its child."""
    app = refused_by(make_app(REFUSING))

    def refused():
        with instrumented(with_clew) as spans, current(app):
            with pytest.raises(OperationalError):
                app.tasks["add"].delay(1, 2)
            return get_current_span().get_span_context().is_valid, spans()

    is_left_current, spans = contextvars.copy_context().run(refused)
    # What contrib leaves behind complains when it is collected: here, not in another test.
    vars(app.tasks["add"]).pop("__otel_task_span", None)
    assert is_left_current is not with_clew
    assert [is_error(span) for span in spans] == ([True] if with_clew else [])
    if with_clew:
        assert spans[0].attributes["error.type"] == "kombu.exceptions.OperationalError"
        assert [event.name for event in spans[0].events] == ["exception"]


@BOTH
def test_a_task_this_process_does_not_know_is_published_in_a_span_of_its_own(with_clew):
    """docs/upstream.md, celery 2: contrib's span ends before the publish does, by garbage collection."""
    app = refused_by(make_app(REFUSING))
    with instrumented(with_clew) as spans:
        with pytest.raises(OperationalError):
            app.send_task("nobody.knows.it")
        assert [is_error(span) for span in spans()] == [with_clew]


def test_the_caller_gets_the_very_same_exception(trace, app):
    mine = RuntimeError("router")

    class Refusing(Producer):
        def publish(self, *args, **kwargs):
            raise mine

    with app.connection() as connection, pytest.raises(RuntimeError) as raised:
        app.tasks["add"].apply_async((1, 2), producer=Refusing(connection.default_channel))
    assert raised.value is mine
    assert is_error(trace.named("apply_async/add"))


@BOTH
def test_an_eager_call_is_a_publish_with_the_run_below_it(eager, with_clew):
    """docs/upstream.md, celery 7: contrib has no PRODUCER."""
    with instrumented(with_clew) as spans:
        eager.tasks["add"].delay(1, 2)
    assert [span.kind for span in spans()] == [SpanKind.CONSUMER, SpanKind.PRODUCER][: 1 + with_clew]
    if with_clew:
        run, publish = spans()
        assert run.parent.span_id == publish.context.span_id
        assert run.attributes["celery.eager"] is publish.attributes["celery.eager"] is True
        assert run.links == ()


def test_eager_canvases_and_retries_are_publishes_too(trace, eager):
    chain(eager.tasks["add"].s(1, 2), eager.tasks["add"].s(3), app=eager).delay()
    eager.tasks["again"].delay(1)
    assert trace.tree("celery.outcome").splitlines() == [
        "PRODUCER apply_async/add",
        "  CONSUMER run/add outcome=succeeded",
        "PRODUCER apply_async/add",
        "  CONSUMER run/add outcome=succeeded",
        "PRODUCER apply_async/again",
        "  CONSUMER run/again outcome=retried",
        "  CONSUMER run/again outcome=succeeded",
    ]


def test_apply_without_eager_mode_is_no_publish(trace, app):
    app.tasks["add"].apply((1, 2))
    assert trace.tree() == "CONSUMER run/add"


@BOTH
def test_the_current_app_is_left_alone(app, with_clew, caplog):
    """docs/upstream.md, celery 13: contrib looks the task up in the current app, whatever app publishes."""
    with instrumented(with_clew) as spans, current(Celery("other", autofinalize=False, set_as_current=False)):
        app.tasks["add"].delay(1, 2)
    assert bool(records_of(caplog, "celery.utils.dispatch")) is not with_clew
    assert [span.name for span in spans()] == (["apply_async/add"] if with_clew else [])


def test_suppressed_work_is_no_span(trace, app):
    with suppress_instrumentation():
        app.tasks["add"].delay(1, 2)
    assert trace.spans == ()


@pytest.mark.parametrize("is_first", [True, False], ids=["contrib first", "clew first"])
def test_with_contrib_there_is_one_span_and_no_warning(app, eager, caplog, is_first):
    instrumentor = CeleryInstrumentor()
    if is_first:
        instrumentor.instrument(skip_dep_check=True)
    try:
        with instrumented(True) as spans:
            if not is_first:
                instrumentor.instrument(skip_dep_check=True)
            instrumentor.instrument(skip_dep_check=True)
            app.tasks["add"].delay(1, 2)
            assert [span.name for span in spans()] == ["run/add", "apply_async/add"]
        assert records_of(caplog, "opentelemetry") == []
    finally:
        instrumentor.uninstrument()


def test_contrib_gets_its_receivers_back(app):
    with upstream() as theirs:
        with instrumented(True):
            app.tasks["add"].delay(1, 2)
        assert theirs() == ()
        app.tasks["add"].delay(1, 2)
        app.tasks["add"].apply((1, 2))
        assert [span.name for span in theirs()] == ["apply_async/add", "run/add"]


def test_a_seam_that_is_off_leaves_its_place_to_contrib(app):
    with upstream() as theirs, instrumented(True, celery_publish=False):
        app.tasks["add"].delay(1, 2)
        assert [span.name for span in theirs()] == ["apply_async/add"]


def test_uninstalled_is_as_before(app):
    with instrumented(True):
        pass
    app.tasks["add"].delay(1, 2)
    ((headers, _),) = messages(app)
    assert not set(headers) & set(propagate.get_global_textmap().fields)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("amqp://user:secret@rabbit.example//", ("rabbitmq", "rabbit.example", 5672)),
        ("pyamqp://user:secret@rabbit.example:5673//", ("rabbitmq", "rabbit.example", 5673)),
        ("redis://:secret@10.0.0.1:6380/3", ("redis", "10.0.0.1", 6380)),
        ("sentinel://:secret@one:26380;sentinel://two:26380", ("redis", "one", 26380)),
        ("filesystem://", ("filesystem", None, None)),
        ("memory://", ("memory", None, None)),
        ("redis+socket:///tmp/redis.sock", ("redis", None, None)),
        ("sqla+postgresql://user:secret@db.example/name?password=secret", ("sqla", "db.example", None)),
        ("sqla+postgresql:///name?user=user&password=secret", ("sqla", None, None)),
        ("sqla+mysql://:sec/ret@db.example/name", ("sqla", None, None)),
        ("sqla+mysql://[secret/name", ("sqla", None, None)),
    ],
)
def test_the_broker_is_named_without_its_credentials(url, expected):
    if expected[0] == "redis":
        pytest.importorskip("redis")
    found = publishing_broker(Celery(broker=url, set_as_current=False))
    assert (found.get("messaging.system"), found.get("server.address"), found.get("server.port")) == expected


def test_a_connection_that_is_none_at_all_is_no_failure():
    """As in the tests of Celery itself, and of its users."""
    found = publishing_broker(None, Mock(hostname=Mock(), port=Mock()))
    assert {type(value) for value in found.values()} == {str}


def test_a_broker_url_that_cannot_be_used_is_the_publishs_own_error(trace):
    app = make_app("nosuchtransport://host")
    with pytest.raises(KeyError):
        app.send_task("add")
    assert is_error(trace.named("apply_async/add"))
