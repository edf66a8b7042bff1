"""Receivers of signals: which of them are spans, below what sent them, and that nobody can tell that we look."""

from __future__ import annotations

import asyncio
import functools
import gc
import sys
import threading
import time
import traceback
import warnings
import weakref

import django
import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import Group, Permission, User
from django.core.signals import request_finished, request_started
from django.db import transaction
from django.db.models.signals import m2m_changed, post_init, post_save, pre_save
from django.dispatch import Signal, receiver
from django.http import HttpResponse
from django.test import AsyncClient, Client
from django.urls import path

from clew.testing import tracing
from tests.seams.django.test_template import below_view

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]
RECEIVER, NAME, SENDER = "django.signal.receiver", "django.signal.name", "django.signal.sender"
HERE = __name__
HAS_ASYNC = pytest.mark.skipif(django.VERSION < (5, 0), reason="Django 5.0 has async receivers")

order_paid = Signal()
cached = Signal(use_caching=True)
ACTION = []


def count(**named):
    return Group.objects.count()


def silent(**named):
    return "silent"


def breaks(**named):
    raise ValueError("no stock")


def sends_on(**named):
    return cached.send(Group)


class Indexer:
    def reindex(self, **named):
        return Group.objects.exists()

    def __call__(self, **named):
        return Group.objects.exists()


async def acount(**named):
    return await Group.objects.acount()


async def asilent(**named):
    await asyncio.sleep(0)


async def abreaks(**named):
    await asyncio.sleep(0)
    raise ValueError("no stock")


def run(request):
    return HttpResponse(str(ACTION[0]()))


async def arun(request):
    return HttpResponse(str(await ACTION[0]()))


urlpatterns = [path("run/", run), path("arun/", arun)]


@pytest.fixture
def trace():
    with tracing() as captured:
        yield captured


@pytest.fixture
def connect():
    """Connects until the end of the test; keeps what would be weak."""
    connected = []

    def connecting(signal, function, **options):
        connected.append((signal, function, options))
        signal.connect(function, **options)
        return function

    yield connecting
    for signal, function, options in connected:
        options.pop("weak", None)
        signal.disconnect(function, **options)


def view(trace, action, *attributes):
    """What is below the view of a request that does this."""
    ACTION[:] = [action]
    trace.clear()
    Client(raise_request_exception=False).get("/run/")
    return below_view(trace, *attributes).splitlines()


def aview(trace, action, *attributes):
    ACTION[:] = [action]
    trace.clear()

    async def ask():
        await AsyncClient(raise_request_exception=False).get("/arun/")

    async_to_sync(ask)()
    return below_view(trace, *attributes).splitlines()


def root(trace):
    return next(span for span in trace.spans if span.parent is None)


def test_what_does_something_is_a_span(trace, connect):
    connect(order_paid, silent)
    connect(order_paid, count)
    assert view(trace, lambda: order_paid.send(User, amount=3)) == [
        "receiver test_signals.count",
        "  CLIENT SELECT auth_group",
    ]
    found = trace.named("receiver test_signals.count").attributes
    assert dict(found) == {
        RECEIVER: f"{HERE}.count",
        NAME: "order_paid",
        SENDER: "django.contrib.auth.models.User",
        "code.function.name": f"{HERE}.count",
        "code.file.path": __file__,
        "code.line.number": count.__code__.co_firstlineno,
    }
    query = trace.named("SELECT auth_group").attributes
    assert query[RECEIVER] == f"{HERE}.count"
    assert query["clew.db.phase"] == "signal"
    assert root(trace).attributes["clew.signal.receiver_count"] >= 2
    assert root(trace).attributes["clew.signal.duration_ms"] >= 0


def test_every_kind_of_receiver_has_its_name(trace, connect):
    indexer = Indexer()
    by_partial, by_lambda = functools.partial(count, depth=1), lambda **named: Group.objects.exists()

    def decorated(function):
        @functools.wraps(function)
        def wrapper(**named):
            return function(**named)

        return wrapper

    for each in (indexer.reindex, indexer, by_partial, by_lambda, decorated(count)):
        connect(order_paid, each, weak=False, dispatch_uid=repr(each))
    view(trace, lambda: order_paid.send(None))
    found = [span.attributes[RECEIVER] for span in trace.spans if span.name.startswith("receiver ")]
    here = "test_every_kind_of_receiver_has_its_name.<locals>.<lambda>"
    # Below decorators and partials it is the same function, so it is one span.
    assert sorted(found) == sorted(f"{HERE}.{name}" for name in ("Indexer.reindex", "Indexer", here, "count"))
    assert not [span for span in trace.spans if SENDER in span.attributes]


def test_a_quick_one_that_does_nothing_is_no_span(trace, connect):
    connect(order_paid, silent)
    assert view(trace, lambda: order_paid.send(None)) == []
    # Nor is the one the test client listens with to the templates of each response.
    assert not [span for span in trace.spans if span.name.startswith("receiver")]
    assert root(trace).attributes["clew.signal.receiver_count"] >= 1


def test_a_slow_one_is_a_span(connect):
    connect(order_paid, lambda **named: time.sleep(0.002), weak=False, dispatch_uid="slow")
    connect(order_paid, silent)
    try:
        with tracing(receiver_threshold_ms=1) as trace:
            assert view(trace, lambda: order_paid.send(None))[0].startswith("receiver ")
        with tracing() as trace:
            assert view(trace, lambda: order_paid.send(None)) == []
    finally:
        order_paid.disconnect(dispatch_uid="slow")


def test_what_send_gives_is_the_sites_own(trace, connect):
    given, indexer = [], Indexer()
    for each in (silent, indexer.reindex, indexer):
        connect(order_paid, each)
    action = lambda: given.append(order_paid.send(None)) or given.append(order_paid.send_robust(None))  # noqa: E731
    view(trace, action)
    expected = [(silent, "silent"), (indexer.reindex, False), (indexer, False)]
    assert given == [expected, expected]
    assert given[0][0][0] is silent
    assert given[0][2][0] is indexer
    assert type(given[0]) is list
    assert order_paid.has_listeners() is True


def test_a_signal_without_receivers_of_the_sender(trace, connect):
    connect(order_paid, count, sender=Group)
    connect(cached, count, sender=Group)
    given = []
    assert view(trace, lambda: given.extend([order_paid.send(User), cached.send(User), cached.send(User)])) == []
    assert given == [[], [], []]


def test_a_receiver_raises(trace, connect):
    connect(order_paid, count)
    connect(order_paid, breaks)
    connect(order_paid, sends_on)
    assert view(trace, lambda: order_paid.send(None), "error.type") == [
        "receiver test_signals.count",
        "  CLIENT SELECT auth_group",
        "receiver test_signals.breaks ERROR type=ValueError",
    ]
    found = trace.named("receiver test_signals.breaks")
    assert [event.name for event in found.events] == ["exception"]
    assert "breaks" in found.events[0].attributes["exception.stacktrace"]
    # Said once, where it was raised; and on the request.
    others = [span for span in trace.spans if span is not found and span.parent is not None]
    assert not [event for span in others for event in span.events if event.name == "exception"]


def test_below_a_transaction_and_from_another_exception(trace, connect):
    connect(order_paid, breaks)

    def pay():
        try:
            with transaction.atomic():
                order_paid.send(None)
        except ValueError as error:
            raise RuntimeError("not paid") from error

    assert view(trace, pay, "error.type") == [
        "transaction default ERROR type=ValueError",
        "  receiver test_signals.breaks ERROR type=ValueError",
    ]


def test_an_error_that_the_application_catches(trace, connect):
    connect(order_paid, breaks)

    def pay():
        for _ in range(2):
            try:
                order_paid.send(None)
            except ValueError:
                pass
        Group.objects.count()
        raise KeyError("another")

    assert view(trace, pay, "error.type") == [
        "receiver test_signals.breaks ERROR type=_OTHER",
        "receiver test_signals.breaks ERROR type=_OTHER",
        "CLIENT SELECT auth_group",
    ]


def test_send_robust_keeps_the_error(trace, connect, caplog):
    connect(order_paid, breaks)
    connect(order_paid, lambda **named: ValueError("returned"), weak=False, dispatch_uid="returns")
    connect(order_paid, count)
    given = []
    try:
        lines = view(trace, lambda: given.extend(order_paid.send_robust(None)), "error.type")
        # Django 4.2 renders a mail to nobody when it logs the error.
        assert [line for line in lines if "template" not in line] == [
            "receiver test_signals.breaks ERROR type=ValueError",
            "receiver test_signals.count",
            "  CLIENT SELECT auth_group",
        ]
    finally:
        order_paid.disconnect(dispatch_uid="returns")
    assert given[0][0] is breaks
    assert type(given[0][1]) is ValueError
    assert "test_signals" not in "".join(traceback.format_tb(given[0][1].__traceback__)).replace(__file__, "")


def test_no_frame_of_ours_is_in_a_traceback(trace, connect):
    connect(order_paid, breaks)
    frames = []

    def pay():
        try:
            order_paid.send(None)
        except ValueError as error:
            frames.extend(traceback.extract_tb(error.__traceback__))

    view(trace, pay)
    traced = [(frame.name, frame.lineno) for frame in frames]
    frames.clear()
    with pytest.raises(AssertionError):
        trace.named("none")
    pay()
    assert traced == [(frame.name, frame.lineno) for frame in frames]
    assert not [name for name, _ in traced if "follow" in name]


def test_warnings_name_the_receivers_line(trace, connect):
    def old(**named):
        warnings.warn("old", DeprecationWarning, stacklevel=1)

    connect(order_paid, old)
    with pytest.warns(DeprecationWarning, match="old") as caught:
        view(trace, lambda: order_paid.send(None))
    assert caught[0].filename == __file__


def test_a_receiver_that_sends(trace, connect):
    connect(order_paid, sends_on)
    connect(order_paid, silent)
    connect(cached, count, sender=Group)
    assert view(trace, lambda: order_paid.send(None), RECEIVER) == [
        f"receiver test_signals.sends_on receiver={HERE}.sends_on",
        f"  receiver test_signals.count receiver={HERE}.count",
        f"    CLIENT SELECT auth_group receiver={HERE}.count",
    ]


def test_equal_ones_are_one(trace, connect):
    connect(post_save, count, sender=Group)
    names = [f"g{number}" for number in range(6)]
    lines = view(trace, lambda: [Group.objects.create(name=name) for name in names], "clew.folded.count", NAME)
    assert lines == [
        "CLIENT INSERT auth_group count=6",
        "receiver test_signals.count… count=6 name=post_save",
        "  CLIENT SELECT auth_group… count=6",
    ] or lines == [
        "CLIENT INSERT auth_group count=6",
        "receiver test_signals.count count=6 name=post_save",
        "  CLIENT SELECT auth_group count=6",
    ]


def test_signals_of_models(trace, connect):
    for signal in (pre_save, post_save, post_init):  # the last is sent for each object, and left alone
        connect(signal, count, sender=Group, dispatch_uid=str(id(signal)))
    connect(m2m_changed, count, sender=Group.permissions.through)

    def work():
        group = Group(name="staff")
        group.save()
        group.permissions.set(Permission.objects.filter(codename="add_group"))

    view(trace, work)
    found = [span for span in trace.spans if span.name.startswith("receiver ")]
    signals = [(span.attributes[NAME], span.attributes[SENDER].rpartition(".")[2]) for span in found]
    assert signals == [
        ("pre_save", "Group"),
        ("post_save", "Group"),
        *[("m2m_changed", "Group_permissions")] * 2,
    ] or signals == [
        ("pre_save", "Group"),
        ("post_save", "Group"),
        ("m2m_changed", "Group_permissions"),
    ]


def test_djangos_own_is_a_span_where_it_does_something(trace):
    user = User.objects.create_user("ann", password="x")

    def login():
        from django.contrib.auth.models import update_last_login

        assert update_last_login
        from django.contrib.auth.signals import user_logged_in

        return user_logged_in.send(User, request=None, user=user)

    assert view(trace, login) == ["receiver models.update_last_login", "  CLIENT UPDATE auth_user"]


def test_weak_receivers_die_as_they_would(trace, connect):
    class Passing:
        def receive(self, **named):
            return Group.objects.count()

    held = Passing()
    seen = weakref.ref(held)
    order_paid.connect(held.receive)
    view(trace, lambda: order_paid.send(None))
    assert len(trace.spans) > 1
    gc.disable()
    try:
        del held
        assert seen() is None
    finally:
        gc.enable()
    assert view(trace, lambda: order_paid.send(None)) == []


def test_the_seam_leaves_signals_alone(trace, connect):
    connect(order_paid, count)
    connect(cached, count, sender=Group)
    before = list(order_paid.receivers)
    view(trace, lambda: (order_paid.send(None), cached.send(Group)))
    assert order_paid.receivers == before
    assert type(order_paid.receivers) is list
    assert [type(each) for each in cached.sender_receivers_cache.values()] == [list]


def test_unsampled_and_outside_of_a_request(connect):
    connect(order_paid, count)
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    ACTION[:] = [lambda: order_paid.send(None)]
    from opentelemetry.sdk.trace import TracerProvider

    from clew.bootstrap import setup_tracing

    handle = setup_tracing(tracer_provider=TracerProvider(sampler=ALWAYS_OFF))
    try:
        assert Client().get("/run/").status_code == 200
    finally:
        handle.shutdown()
    with tracing() as trace:
        assert order_paid.send(None) == [(count, 0)]
        assert trace.spans == ()


def test_undone(connect):
    original = Signal._live_receivers
    with tracing():
        assert Signal._live_receivers is not original
    assert Signal._live_receivers is original
    with tracing(django_signals=False):
        assert Signal._live_receivers is original


def test_sync_receivers_of_async_views(trace, connect):
    connect(order_paid, count)
    assert aview(trace, sync_to_async(lambda: order_paid.send(None)))[:1] == ["receiver test_signals.count"]


@HAS_ASYNC
@pytest.mark.parametrize("way", ["asend", "asend_robust"])
def test_async_sending(trace, connect, way):
    for each in (count, silent, acount, asilent):
        connect(order_paid, each)
    given = []

    async def pay():
        given.extend(await getattr(order_paid, way)(User))

    lines = aview(trace, pay, RECEIVER)
    assert sorted(lines) == sorted(
        [
            f"receiver test_signals.count receiver={HERE}.count",
            f"  CLIENT SELECT auth_group receiver={HERE}.count",
            f"receiver test_signals.acount receiver={HERE}.acount",
            f"  CLIENT SELECT auth_group receiver={HERE}.acount",
        ]
    )
    assert [each for each, _ in given] == [count, silent, acount, asilent]
    assert given[2][0] is acount


@HAS_ASYNC
@pytest.mark.parametrize("way", ["send", "send_robust"])
def test_async_receivers_of_sync_sending(trace, connect, way):
    connect(order_paid, acount)
    connect(order_paid, silent)
    given = []
    assert view(trace, lambda: given.extend(getattr(order_paid, way)(User))) == [
        "receiver test_signals.acount",
        "  CLIENT SELECT auth_group",
    ]
    assert [each for each, _ in given] == [silent, acount]


@HAS_ASYNC
def test_async_receivers_that_raise(trace, connect, caplog):
    connect(order_paid, abreaks)
    given, frames = [], []

    async def robust():
        given.extend(await order_paid.asend_robust(None))

    async def plain():
        try:
            await order_paid.asend(None)
        except ValueError as error:
            frames.append([each.name for each in traceback.extract_tb(error.__traceback__)])
            raise

    assert aview(trace, robust, "error.type") == ["receiver test_signals.abreaks ERROR type=ValueError"]
    assert given[0][0] is abreaks
    assert "Error calling abreaks in Signal.send_robust() (no stock)" in caplog.text
    assert aview(trace, plain, "error.type") == ["receiver test_signals.abreaks ERROR type=ValueError"]
    with tracing(django_signals=False) as other:
        aview(other, plain)
    # Python 3.10 raises again with the traceback it caught: there is one step of ours in it.
    ours = ["send"] if sys.version_info < (3, 11) else []
    assert [name for name in frames[0] if name not in ours] == frames[1]


@HAS_ASYNC
def test_async_receivers_at_the_same_time(trace, connect):
    """Each steps through its own queries while the others wait."""

    async def one(**named):
        for _ in range(3):
            await Group.objects.acount()

    async def other(**named):
        for _ in range(3):
            await Permission.objects.filter(id=0).aexists()

    connect(order_paid, one)
    connect(order_paid, other)

    async def pay():
        await order_paid.asend(None)
        await User.objects.acount()

    lines = aview(trace, pay)
    name = "test_async_receivers_at_the_same_time.<locals>."
    at = [index for index, line in enumerate(lines) if line.startswith("receiver")]
    assert [set(lines[at[0] + 1 : at[1]]), set(lines[at[1] + 1 : -1])] in (
        [{"  CLIENT SELECT auth_group"}, {"  CLIENT SELECT auth_permission"}],
        [{"  CLIENT SELECT auth_permission"}, {"  CLIENT SELECT auth_group"}],
    ), name
    assert lines[-1] == "CLIENT SELECT auth_user"


@HAS_ASYNC
def test_an_async_receiver_answers_as_itself(trace, connect):
    """What asyncio, and Django, ask of a coroutine; a context variable that it sets is left as without us."""
    import contextvars

    variable = contextvars.ContextVar("variable", default="")

    async def sets(**named):
        variable.set("set")
        await asyncio.sleep(0)
        return asyncio.current_task().get_coro().cr_frame is not None

    connect(order_paid, sets)

    async def pay():
        given = await order_paid.asend(None)
        return given[0][1], variable.get()

    async def both():
        seen.append(await pay())

    seen = []
    aview(trace, both)
    with tracing(django_signals=False) as other:
        aview(other, both)
    assert seen[0] == seen[1]


@pytest.mark.parametrize("signal", [request_started, request_finished])
def test_silence_around_the_request(trace, signal):
    view(trace, str)
    assert not [span for span in trace.spans if span.name.startswith("receiver")]


@pytest.mark.parametrize("is_the_sites", [False, True])
def test_djangos_receivers_around_a_request_are_followed_only_beside_the_sites(trace, connect, is_the_sites):
    """Four of them in each request, which do nothing that anybody would look for."""

    def hear(**named):
        pass

    if is_the_sites:
        connect(request_started, hear)
    view(trace, lambda: request_started.send(None) and "")
    assert ("clew.signal.receiver_count" in root(trace).attributes) is is_the_sites


@pytest.mark.parametrize("path", ["run", "arun"])
def test_after_the_response(trace, connect, path):
    """The span of the request has ended; what its end calls is below it all the same."""
    connect(request_finished, count)
    (view if path == "run" else aview)(trace, lambda: asyncio.sleep(0) if path == "arun" else "")
    span = trace.named("receiver test_signals.count")
    assert span.attributes[NAME] == "request_finished"
    assert span.parent.span_id == root(trace).context.span_id
    assert trace.named("SELECT auth_group").parent.span_id == span.context.span_id
    trace.clear()
    request_finished.send(None)
    assert trace.spans == ()


def test_threads_at_the_same_time(trace, connect):
    """One request's local trace, several threads."""
    import contextvars

    connect(order_paid, silent)

    def many():
        for _ in range(50):
            order_paid.send(None)

    def work():
        threads = [threading.Thread(target=contextvars.copy_context().run, args=(many,)) for _ in range(4)]
        for each in threads:
            each.start()
        many()
        for each in threads:
            each.join()

    assert view(trace, work) == []


@receiver(order_paid, sender=Permission)
def decorated(**named):
    return Group.objects.count()


def test_the_decorator(trace):
    assert view(trace, lambda: order_paid.send(Permission)) == [
        "receiver test_signals.decorated",
        "  CLIENT SELECT auth_group",
    ]
