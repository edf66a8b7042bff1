"""What a framework answers 5xx by itself is told on the view and on the request; 4xx is no error."""

from __future__ import annotations

import asyncio

import pytest
from django.db import transaction
from django.http import Http404, HttpResponse, JsonResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import path
from ninja import NinjaAPI
from ninja.errors import HttpError
from opentelemetry.trace import StatusCode
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import APIException, AuthenticationFailed, NotFound
from rest_framework.permissions import BasePermission, IsAuthenticated
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from clew.testing import tracing

HERE = "tests.seams.django.test_rest."


class BrokenError(Exception):
    pass


class ServiceUnavailable(APIException):
    status_code = 503


ERRORS = {
    "broken": BrokenError("x"),
    "unavailable": ServiceUnavailable(),
    "http": HttpError(502, "x"),
    "found": NotFound(),
    "refused": HttpError(403, "x"),
    "404": Http404(),
}
IS_ERROR = ("broken", "unavailable", "http")


def answering(error, context):
    """As sites do: everything has an answer."""
    return Response("no", status=getattr(error, "status_code", 404 if isinstance(error, Http404) else 500))


class RestView(APIView):
    authentication_classes = permission_classes = ()

    def get_exception_handler(self):
        return answering

    def get(self, request, which):
        raise ERRORS[which]


class OwnAnswers(APIView):
    """Answers what REST framework raises again."""

    authentication_classes = permission_classes = ()

    def handle_exception(self, exc):
        try:
            return super().handle_exception(exc)
        except Exception as error:
            return answering(error, None)

    def get(self, request, which):
        raise ERRORS[which]


class Closed(BasePermission):
    def has_permission(self, request, view):
        return False

    def has_object_permission(self, request, view, obj):
        return False


class Token(BaseAuthentication):
    def authenticate(self, request):
        raise AuthenticationFailed

    def authenticate_header(self, request):
        return "Token"


class Never(BaseThrottle):
    def allow_request(self, request, view):
        return False


class GuardedView(APIView):
    authentication_classes = permission_classes = ()

    def get(self, request):
        return Response("ran")


class ObjectView(GuardedView):
    def get(self, request):
        self.permission_classes = (Closed,)
        self.check_object_permissions(request, None)


def guarded(**classes):
    return type("Guarded", (GuardedView,), classes).as_view()


def knows_key(request):
    return None


api = NinjaAPI()


@api.exception_handler(Exception)
def answer(request, error):
    return api.create_response(request, "no", status=answering(error, None).status_code)


@api.get("/{which}")
def operation(request, which: str):
    raise ERRORS[which]


@api.get("/guarded/by/key", auth=knows_key)
def guarded_operation(request):
    return "ran"


@api.get("/atomic/{which}")
def atomic_operation(request, which: str):
    with transaction.atomic():
        raise ERRORS[which]


async_api = NinjaAPI(urls_namespace="async")
async_api.add_exception_handler(Exception, answer)


@async_api.get("/{which}")
async def async_operation(request, which: str):
    raise ERRORS[which]


def view(request, which):
    raise ERRORS[which]


def unharmed(request, which):
    try:
        RestView.as_view()(request, which=which)
    except ValueError:
        pass
    return HttpResponse("fine")


class Answering:
    """A middleware whose `process_exception` answers."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        return self.get_response(request)

    def process_exception(self, request, error):
        return JsonResponse({}, status=answering(error, None).status_code)


urlpatterns = [
    path("rest/<which>", RestView.as_view()),
    path("overridden/<which>", OwnAnswers.as_view()),
    path("closed", guarded(permission_classes=(Closed,))),
    path("token", guarded(authentication_classes=(Token,))),
    path("signed_in", guarded(authentication_classes=(SessionAuthentication,), permission_classes=(IsAuthenticated,))),
    path("never", guarded(throttle_classes=(Never,))),
    path("open", guarded()),
    path("object", ObjectView.as_view()),
    path("ninja/", api.urls),
    path("async/", async_api.urls),
    path("middleware/<which>", view),
    path("unharmed/<which>", unharmed),
]
SITE = override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[f"{__name__}.Answering"])


def traced(url):
    with SITE, tracing() as trace:
        response = Client().get(url)
    by_name = {span.name.partition(" ")[0]: span for span in trace.spans}
    return response, by_name["view"], by_name["GET"]


@pytest.mark.parametrize("which", list(ERRORS))
@pytest.mark.parametrize("framework", ["rest", "overridden", "ninja", "async", "middleware"])
def test_an_exception_that_is_answered_500_is_told(framework, which):
    response, view, request = traced(f"/{framework}/{which}")
    assert (response.status_code >= 500) is (which in IS_ERROR)
    for span in (view, request):
        events = [event for event in span.events if event.name == "exception"]
        assert (span.status.status_code is StatusCode.ERROR) is (which in IS_ERROR)
        assert len(events) == (which in IS_ERROR)
        if events:
            kind = type(ERRORS[which])
            assert events[0].attributes["exception.type"].endswith(kind.__name__)
            assert span.attributes["error.type"].endswith(kind.__name__)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("which", list(ERRORS))
def test_in_a_transaction(which):
    with SITE, tracing() as trace:
        Client().get(f"/ninja/atomic/{which}")
    states = {span.status.status_code for span in trace.spans if span.name.startswith(("GET", "view", "transaction"))}
    assert states == {StatusCode.ERROR if which in IS_ERROR else StatusCode.UNSET}
    (block,) = [span for span in trace.spans if span.name == "transaction default"]
    assert len(block.events) == (which in IS_ERROR)


def test_under_asgi():
    with SITE, tracing() as trace:
        response = asyncio.run(AsyncClient().get("/async/broken"))
    assert response.status_code == 500
    (view,) = [span for span in trace.spans if span.name == "view test_rest.async_operation"]
    assert [event.attributes["exception.type"] for event in view.events] == [f"{HERE}BrokenError"]


REST = "rest_framework.permissions."


@pytest.mark.parametrize(
    ("url", "status", "by", "reason"),
    [
        ("closed", 403, f"{HERE}Closed", "permission denied (403)"),
        ("token", 401, f"{HERE}Token", "not authenticated (401)"),
        ("signed_in", 403, f"{REST}IsAuthenticated", "not authenticated (403)"),
        ("never", 429, f"{HERE}Never", "throttled (429)"),
        ("ninja/guarded/by/key", 401, f"{HERE}knows_key", "not authenticated (401)"),
        ("open", 200, None, None),
        ("object", 403, None, None),
        ("rest/refused", 403, None, None),
        ("ninja/refused", 403, None, None),
    ],
)
def test_who_denied(url, status, by, reason):
    sessions = override_settings(MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"])
    with SITE, sessions, tracing() as trace:
        assert Client().get(f"/{url}").status_code == status
    (root,) = [span for span in trace.spans if span.name.startswith("GET")]
    names = ("django.view.denied_by", "django.view.denied_reason", "django.view.reached")
    assert tuple(root.attributes.get(name) for name in names) == (by, reason, by is None)


def test_what_another_view_has_answered_500_is_no_error_of_one_that_answers_200():
    response, view, request = traced("/unharmed/broken")
    assert response.content == b"fine"
    assert {view.status.status_code, request.status.status_code} == {StatusCode.UNSET}
