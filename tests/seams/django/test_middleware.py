"""Middleware phases: flat siblings, one for each phase worth a span."""

from __future__ import annotations

import asyncio
import time

import pytest
from django.test import AsyncClient, Client, override_settings
from django.urls import Resolver404
from opentelemetry.trace import SpanKind, StatusCode

from clew.testing import tracing

HERE = "tests.site.middleware."


def tree_of(middleware, path="/plain/", attributes=(), detail="all"):
    names = [HERE + name if "." not in name else name for name in middleware]
    with tracing(detail=detail, resolve_threshold_ms=10_000) as captured, override_settings(MIDDLEWARE=names):
        Client(raise_request_exception=False).get(path)
        return captured.tree(*attributes)


def test_every_phase_is_a_flat_sibling():
    assert tree_of(["RescuingMiddleware", "function_middleware", "AnsweringViewHookMiddleware"]) == (
        "SERVER GET plain/\n"
        "  middleware RescuingMiddleware request\n"
        "  middleware function_middleware request\n"
        "  middleware AnsweringViewHookMiddleware request\n"
        "  middleware AnsweringViewHookMiddleware view\n"
        "  middleware AnsweringViewHookMiddleware response\n"
        "  middleware function_middleware response\n"
        "  middleware RescuingMiddleware response"
    )


def test_trivial_phases_are_timings_by_default():
    with (
        tracing(middleware_threshold_us=1_000_000, resolve_threshold_ms=10_000) as captured,
        override_settings(MIDDLEWARE=[HERE + "function_middleware", HERE + "NotUsedMiddleware"]),
    ):
        Client().get("/plain/")
    assert captured.tree() == "SERVER GET plain/\n  view views.plain"
    timings = captured.named("GET plain/").attributes["django.middleware.timings"]
    assert [entry.rpartition(" ")[0] for entry in timings.split(", ")] == [
        "function_middleware request",
        "function_middleware response",
    ]


def test_a_phase_with_something_under_it_is_a_span():
    with (
        tracing(middleware_threshold_us=1_000_000, resolve_threshold_ms=10_000) as captured,
        override_settings(MIDDLEWARE=[HERE + "WorkingMiddleware", HERE + "function_middleware"]),
    ):
        Client().get("/plain/")
    assert captured.tree() == (
        "SERVER GET plain/\n"
        "  middleware WorkingMiddleware request\n"
        "    work before\n"
        "  view views.plain\n"
        "  middleware WorkingMiddleware response\n"
        "    work after"
    )


def test_the_middleware_that_answers_is_named():
    with (
        tracing() as captured,
        override_settings(MIDDLEWARE=[HERE + "function_middleware", HERE + "AnsweringMiddleware"]),
    ):
        assert Client(raise_request_exception=False).get("/plain/").status_code == 503
    server = next(span for span in captured.spans if span.kind is SpanKind.SERVER)
    assert server.attributes["django.response.short_circuited_by"] == HERE + "AnsweringMiddleware"
    assert server.attributes["django.view.reached"] is False
    span = captured.named("middleware AnsweringMiddleware request")
    assert span.attributes["django.middleware.short_circuited"] is True
    assert span.attributes["code.function.name"].endswith("AnsweringMiddleware.process_request")


def test_a_view_hook_that_answers_is_named():
    with tracing() as captured, override_settings(MIDDLEWARE=[HERE + "AnsweringViewHookMiddleware"]):
        Client().get("/plain/")
    server = captured.named("GET plain/")
    assert server.attributes["django.response.short_circuited_by"] == HERE + "AnsweringViewHookMiddleware"
    assert not [span for span in captured.spans if span.name.startswith("view ")]


def test_an_exception_hook_that_rescues():
    tree = tree_of(["RescuingMiddleware"], "/broken/")
    assert tree == (
        "SERVER GET broken/\n"
        "  middleware RescuingMiddleware request\n"
        "  view views.broken ERROR\n"
        "  middleware RescuingMiddleware exception\n"
        "  middleware RescuingMiddleware response"
    )


def test_denied_in_a_middleware_is_403_with_its_name():
    with tracing() as captured, override_settings(MIDDLEWARE=[HERE + "DenyingMiddleware"]):
        assert Client().get("/plain/").status_code == 403
    server = next(span for span in captured.spans if span.kind is SpanKind.SERVER)
    assert server.attributes["django.response.raised_by"] == HERE + "DenyingMiddleware"


def test_attributes_a_middleware_sets_reach_the_request_span():
    with tracing() as captured, override_settings(MIDDLEWARE=[HERE + "TaggingMiddleware"]):
        Client().get("/plain/")
    assert captured.named("GET plain/").attributes["tenant"] == "acme"


def test_a_middleware_that_asks_twice():
    tree = tree_of(["TwiceMiddleware", "function_middleware"])
    assert tree.count("view views.plain") == 2
    assert tree.count("middleware function_middleware request") == 2


@pytest.mark.parametrize(
    "middleware", [["AsyncOnlyMiddleware", "function_middleware"], ["function_middleware", "RescuingMiddleware"], []]
)
@pytest.mark.parametrize("path", ["/plain/", "/aplain/", "/class/", "/aclass/"])
def test_sync_and_async_chains_give_the_same_tree(middleware, path):
    names = [HERE + name for name in middleware]
    with override_settings(MIDDLEWARE=names):
        with tracing(detail="all", resolve_threshold_ms=10_000) as captured:
            sync_status = Client().get(path).status_code
            sync_tree = captured.tree()
        with tracing(detail="all", resolve_threshold_ms=10_000) as captured:
            async_status = asyncio.run(AsyncClient().get(path)).status_code
            async_tree = captured.tree()
    assert (sync_status, sync_tree) == (async_status, async_tree)
    assert sync_tree.count("  middleware ") == 2 * len(middleware)


def test_template_response_hook():
    assert tree_of(["TemplateResponseMiddleware"], "/template-response/") == (
        "SERVER GET template-response/\n"
        "  middleware TemplateResponseMiddleware request\n"
        "  view views.template_response\n"
        "  middleware TemplateResponseMiddleware template_response\n"
        "  template <string>\n"
        "  middleware TemplateResponseMiddleware response"
    )


def raising(error):
    def middleware(get_response):
        def answer(request):
            raise error

        return answer

    return middleware


not_found, broken = raising(Resolver404({"tried": ["x" * 100_000], "path": "nowhere"})), raising(RuntimeError("broken"))


@pytest.mark.parametrize(("which", "status"), [("not_found", StatusCode.UNSET), ("broken", StatusCode.ERROR)])
def test_an_exception_that_is_an_answer_is_no_error_of_the_middleware(which, status):
    with tracing() as captured, override_settings(MIDDLEWARE=[f"{__name__}.{which}"]):
        Client(raise_request_exception=False).get("/plain/")
    (span,) = [span for span in captured.spans if span.name.startswith("middleware ")]
    assert span.status.status_code is status
    assert len(span.events) == (which == "broken")
    server = next(span for span in captured.spans if span.kind is SpanKind.SERVER)
    assert server.attributes["django.response.raised_by"].startswith(__name__)


def sleeping(milliseconds):
    def middleware(get_response):
        def answer(request):
            time.sleep(milliseconds / 1000)
            response = get_response(request)
            time.sleep(milliseconds / 1000)
            return response

        return answer

    return middleware


short, long = sleeping(1), sleeping(15)


def test_a_phase_that_is_a_small_part_of_its_request_is_no_span():
    names = [f"{__name__}.{name}" for name in ("short", "long")]
    for _ in range(10):  # where a machine is busy, what is short takes long
        with tracing(middleware_threshold_us=100) as captured, override_settings(MIDDLEWARE=names):
            Client().get("/plain/")
        if len([span for span in captured.spans if span.name.startswith("middleware ")]) == 2:
            break
    else:
        pytest.fail("short phases are spans, or long ones are none")
    server = next(span for span in captured.spans if span.kind is SpanKind.SERVER)
    assert server.attributes["django.middleware.timings"].count("sleeping") == 2


def asking_often(get_response):
    return lambda request: [get_response(request) for _ in range(150)][-1]


@pytest.mark.parametrize("detail", ["all", "default"])
def test_a_chain_that_is_asked_again_and_again_is_bounded_and_complete(detail):
    middleware = [f"{__name__}.asking_often", HERE + "function_middleware"]
    with (
        tracing(detail=detail, middleware_threshold_us=10_000_000, resolve_threshold_ms=10_000) as captured,
        override_settings(MIDDLEWARE=middleware),
    ):
        assert Client().get("/plain/").status_code == 200
    asked = [span for span in captured.spans if span.name.startswith("middleware function_middleware")]
    assert len(asked) == (300 if detail == "all" else 0)
    timings = captured.named("GET plain/").attributes.get("django.middleware.timings", "")
    assert 0 <= timings.count("function_middleware") <= 200
    assert bool(timings) == (detail == "default")
