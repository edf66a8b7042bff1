"""The view's span names the user's code, whatever decorators lie around it."""

from __future__ import annotations

import functools

import pytest
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.http.multipartparser import MultiPartParserError
from django.test import Client, override_settings
from django.urls import path
from django.utils.decorators import method_decorator
from django.views import View
from opentelemetry.trace import StatusCode
from rest_framework.exceptions import APIException, Throttled

from clew.testing import tracing

HERE = "tests.seams.django.test_view."


def bare(view):
    def wrapper(request, *args, **kwargs):
        return view(request, *args, **kwargs)

    return wrapper


def checked(check, what="x"):
    """With more than one thing in the closure."""

    def decorator(view):
        def wrapper(*args, **kwargs):
            check(what)
            return view(*args, **kwargs)

        return wrapper

    return decorator


def function_view(request):
    return HttpResponse("f")


class ClassView(View):
    def get(self, request):
        return HttpResponse("c")


@method_decorator(bare, name="dispatch")
class DecoratedView(View):
    def get(self, request):
        return HttpResponse("d")


class Dispatcher:
    def __call__(self, request):
        return HttpResponse("o")


def made_by_a_factory(form):
    def view(request):
        return HttpResponse(form("x"))

    return view


class RefusedByAnotherService(Exception):
    """As of a client's library: Django answers 500."""

    status_code = 401


class ServiceUnavailable(APIException):
    status_code = 503


IS_ERROR = ("unavailable", "client", "500")
ERRORS = {
    "404": Http404("no"),
    "403": PermissionDenied(),
    "multipart": MultiPartParserError("bad"),
    "throttled": Throttled(),
    "unavailable": ServiceUnavailable(),
    "client": RefusedByAnotherService(),
    "500": RuntimeError(),
}


def raising(request, which):
    raise ERRORS[which]


urlpatterns = [
    path("plain/", function_view),
    path("bare/", bare(function_view)),
    path("twice/", bare(checked(str)(bare(function_view)))),
    path("partial/", bare(functools.partial(function_view))),
    path("class/", bare(ClassView.as_view())),
    path("class-checked/", checked(str)(bare(ClassView.as_view()))),
    path("decorated/", DecoratedView.as_view()),
    path("object/", Dispatcher()),
    path("factory/", made_by_a_factory(str.upper)),
    path("lambda/", bare(lambda request: HttpResponse("l"))),
    path("raise/<which>/", raising),
]


def view_span(url):
    with tracing() as trace, override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[]):
        Client(raise_request_exception=False).get(url)
    (span,) = [span for span in trace.spans if span.name.startswith("view ")]
    return span


@pytest.mark.parametrize(
    ("url", "name", "function"),
    [
        ("/plain/", "function_view", "function_view"),
        ("/bare/", "function_view", "function_view"),
        ("/twice/", "function_view", "function_view"),
        ("/partial/", "function_view", "function_view"),
        ("/class/", "ClassView", "ClassView.get"),
        ("/class-checked/", "ClassView", "ClassView.get"),
        ("/decorated/", "DecoratedView", "DecoratedView.get"),
        ("/object/", "Dispatcher", "Dispatcher"),
        # What calls something else, and decorates nothing.
        ("/factory/", "made_by_a_factory.<locals>.view", "made_by_a_factory.<locals>.view"),
        ("/lambda/", "<lambda>", "<lambda>"),
    ],
)
def test_the_view_below_its_decorators_is_named(url, name, function):
    span = view_span(url)
    assert span.name == f"view {HERE}{name}"
    assert span.attributes["code.function.name"] == HERE + function
    assert span.attributes["code.file.path"] == __file__


@pytest.mark.parametrize("which", list(ERRORS))
def test_an_exception_that_is_an_answer_is_no_error(which):
    span = view_span(f"/raise/{which}/")
    assert span.status.status_code is (StatusCode.ERROR if which in IS_ERROR else StatusCode.UNSET)
    assert len(span.events) == (which in IS_ERROR)
