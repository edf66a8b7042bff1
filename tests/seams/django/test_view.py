"""The view's span names the user's code, whatever decorators lie around it."""

from __future__ import annotations

import functools
import linecache

import pytest
from django.contrib.admin import AdminSite, ModelAdmin
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.http.multipartparser import MultiPartParserError
from django.test import Client, override_settings
from django.urls import include, path
from django.utils.decorators import method_decorator
from django.views import View
from django.views.generic import TemplateView
from ninja import NinjaAPI
from opentelemetry.trace import StatusCode
from rest_framework.decorators import action, api_view, authentication_classes, permission_classes
from rest_framework.exceptions import APIException, Throttled
from rest_framework.response import Response
from rest_framework.viewsets import ModelViewSet

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

    def serve(self, request):
        return HttpResponse("o")

    @bare
    def decorated(self, request):
        return HttpResponse("o")


class Inheriting(Dispatcher):
    """Says whose it is: nothing of its methods."""


class OwnDispatch(View):
    def dispatch(self, request, *args, **kwargs):
        return HttpResponse("own")


class Users(ModelViewSet):
    """`list` is REST framework's."""

    queryset = User.objects.none()
    authentication_classes = permission_classes = ()

    def list(self, request):
        return Response(())

    @action(detail=False)
    def banned(self, request):
        return Response(())


class Inherited(Users):
    pass


class FromLibrary(TemplateView):
    template_name = "t/page.html"


@api_view(["GET"])
@authentication_classes([])
@permission_classes([])
def rest_function(request):
    return Response(())


api, other_api = NinjaAPI(urls_namespace="one"), NinjaAPI(urls_namespace="two")


@api.get("/things")
def list_things(request):
    return []


@api.post("/things")
def make_thing(request):
    return []


@other_api.get("/things")
async def list_things_later(request):
    return []


class OurAdmin(ModelAdmin):
    def get_urls(self):
        return [path("list/", self.admin_site.admin_view(self.changelist_view))]


our_admin = OurAdmin(User, AdminSite())


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
    path("partial-object/", functools.partial(Dispatcher())),
    path("method/", Inheriting().serve),
    path("method-decorated/", bare(Inheriting().decorated)),
    path("own-dispatch/", OwnDispatch.as_view()),
    path("rest-list/", Users.as_view({"get": "list"})),
    path("rest-inherited/", Inherited.as_view({"get": "list"})),
    path("rest-action/", bare(Users.as_view({"get": "banned"}))),
    path("rest-function/", rest_function),
    path("from-library/", FromLibrary.as_view()),
    path("ninja/", api.urls),
    path("ninja-async/", other_api.urls),
    path("admin/", include((our_admin.get_urls(), "admin"))),
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
        ("/partial-object/", "Dispatcher", "Dispatcher"),
        ("/method/", "Inheriting.serve", "Inheriting.serve"),
        ("/method-decorated/", "Inheriting.decorated", "Inheriting.decorated"),
        ("/own-dispatch/", "OwnDispatch", "OwnDispatch.dispatch"),
        ("/rest-list/", "Users", "Users.list"),
        ("/rest-inherited/", "Inherited", "Inherited.list"),
        ("/rest-action/", "Users", "Users.banned"),
        ("/rest-function/", "rest_function", "rest_function"),
        ("/from-library/", "FromLibrary", "FromLibrary.get"),
        ("/ninja/things", "list_things", "list_things"),
        ("/ninja-async/things", "list_things_later", "list_things_later"),
        ("/admin/list/", "OurAdmin.changelist_view", "OurAdmin.changelist_view"),
        # What calls something else, and decorates nothing.
        ("/factory/", "made_by_a_factory.<locals>.view", "made_by_a_factory.<locals>.view"),
        ("/lambda/", "<lambda>", "<lambda>"),
    ],
)
def test_the_view_below_its_decorators_is_named(url, name, function):
    span = view_span(url)
    assert span.name == f"view test_view.{name}"
    assert span.attributes["code.function.name"] == HERE + function
    assert span.attributes["code.file.path"] == __file__


@pytest.mark.parametrize(
    ("url", "begins"),
    [("/from-library/", "class FromLibrary"), ("/admin/list/", "class OurAdmin"), ("/method/", "    def serve")],
)
def test_the_line_of_what_is_inherited_from_a_library_is_the_class_s(url, begins):
    line = view_span(url).attributes["code.line.number"]
    assert linecache.getline(__file__, line).startswith(begins)


def test_an_operation_of_ninja_is_told_by_its_method():
    with tracing() as trace, override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[]):
        Client().get("/ninja/things")
        Client().post("/ninja/things")
    names = [span.name for span in trace.spans if span.name.startswith("view ")]
    assert names == ["view test_view.list_things", "view test_view.make_thing"]


@pytest.mark.parametrize(
    ("url", "function"), [("/ninja/things", list_things), ("/ninja-async/things", list_things_later)]
)
@pytest.mark.parametrize("method", ["DELETE", "OPTIONS", "HEAD"])
def test_a_method_that_ninja_does_not_allow_is_told_by_the_path_s_function(url, function, method):
    with tracing() as trace, override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[]):
        assert Client().generic(method, url).status_code == 405
    span = trace.named(f"view test_view.{function.__name__}")
    assert span.attributes["django.view.handler"] == "http_method_not_allowed"
    assert span.attributes["code.line.number"] == function.__code__.co_firstlineno
    assert span.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize("which", list(ERRORS))
def test_an_exception_that_is_an_answer_is_no_error(which):
    span = view_span(f"/raise/{which}/")
    assert span.status.status_code is (StatusCode.ERROR if which in IS_ERROR else StatusCode.UNSET)
    assert len(span.events) == (which in IS_ERROR)
