"""Why a view never ran: decorators, mixins, middleware, CSRF; what it costs to ask who is there and what they may."""

from __future__ import annotations

import functools
import sys

import pytest
from django.contrib import admin
from django.contrib.admin.views.decorators import staff_member_required
from django.contrib.auth.decorators import login_required, permission_required, user_passes_test
from django.contrib.auth.mixins import LoginRequiredMixin, PermissionRequiredMixin, UserPassesTestMixin
from django.contrib.auth.models import Permission, User
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.test import Client
from django.urls import path
from django.views import View

from clew.testing import tracing

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]
BY, REASON, REACHED = "django.view.denied_by", "django.view.denied_reason", "django.view.reached"


def page(request):
    return HttpResponse("ran")


def is_owner(user):
    return user.username == "owner"


def is_owner_or_refused(user):
    raise PermissionDenied


class Page(View):
    def get(self, request):
        return HttpResponse("ran")


class NeedsLogin(LoginRequiredMixin, Page):
    pass


class NeedsPermission(PermissionRequiredMixin, Page):
    permission_required = "auth.add_user"


class NeedsTest(UserPassesTestMixin, Page):
    def test_func(self):
        return False


def sends_away(request):
    return redirect_to_login("/next/")


def members_only(view):
    """As sites write them: no `functools.wraps`, and none of Django's tests."""

    def checked(request, *args, **kwargs):
        if request.user.is_anonymous:
            return sends_away(request)
        return view(request, *args, **kwargs)

    return checked


def refuses(view):
    @functools.wraps(view)
    def checked(request, *args, **kwargs):
        if not request.user.is_superuser:
            raise PermissionDenied
        return view(request, *args, **kwargs)

    return checked


def logged(view):
    def wrapper(request, *args, **kwargs):
        return view(request, *args, **kwargs)

    return wrapper


def raises(request):
    raise PermissionDenied


def asks_each(request):
    answers = [user.has_perm("auth.add_user") for user in User.objects.all()]
    return HttpResponse(str(answers))


def asks_one(request):
    return HttpResponse(str([request.user.has_perm(f"auth.add_{number}") for number in range(9)]))


urlpatterns = [
    path("login_required/", login_required(page)),
    path("permission_required/", permission_required("auth.add_user")(page)),
    path("permission_raises/", permission_required("auth.add_user", raise_exception=True)(page)),
    path("user_passes_test/", user_passes_test(is_owner)(page)),
    path("staff/", staff_member_required(page)),
    path("login_mixin/", NeedsLogin.as_view()),
    path("permission_mixin/", NeedsPermission.as_view()),
    path("test_mixin/", NeedsTest.as_view()),
    path("admin/", admin.site.urls),
    path("sends_away/", sends_away),
    path("sends_away_staff/", user_passes_test(lambda user: True)(sends_away)),
    path("test_raises/", user_passes_test(is_owner_or_refused)(page)),
    path("test_then_raises/", user_passes_test(lambda user: True)(raises)),
    path("members/", logged(members_only(logged(page)))),
    path("members_class/", logged(members_only(Page.as_view()))),
    path("refuses/", logged(refuses(logged(page)))),
    path("refuses_class/", refuses(Page.as_view())),
    path("raises/", logged(raises)),
    path("members_sends_away/", logged(sends_away)),
    path("page/", page),
    path("asks_each/", asks_each),
    path("asks_one/", asks_one),
]
DECORATORS = "django.contrib.auth.decorators"
TO_LOGIN = "redirected to /accounts/login/"
DENIED = "permission denied (403)"
# Before Python 3.11 code knows only its own name.
MEMBERS, REFUSES = ("members_only", "refuses") if sys.version_info >= (3, 11) else ("checked", "checked")


@pytest.fixture
def trace():
    with tracing() as captured:
        yield captured


@pytest.fixture
def user():
    return User.objects.create_user("alice", password="correct-horse")


def said(trace):
    (root,) = [span for span in trace.spans if span.name.startswith(("GET", "POST"))]
    return tuple(root.attributes.get(name) for name in (BY, REASON, REACHED))


@pytest.mark.parametrize(
    ("url", "by", "reason"),
    [
        ("login_required", f"{DECORATORS}.login_required", TO_LOGIN),
        ("permission_required", f"{DECORATORS}.permission_required", TO_LOGIN),
        ("permission_raises", f"{DECORATORS}.permission_required", DENIED),
        ("user_passes_test", f"{__name__}.is_owner", TO_LOGIN),
        (
            "staff",
            "django.contrib.admin.views.decorators.staff_member_required",
            "redirected to /admin/login/",
        ),
        ("login_mixin", f"{__name__}.NeedsLogin", TO_LOGIN),
        ("permission_mixin", f"{__name__}.NeedsPermission", TO_LOGIN),
        ("test_mixin", f"{__name__}.NeedsTest", TO_LOGIN),
        ("test_raises", f"{__name__}.is_owner_or_refused", DENIED),
        ("members", f"{__name__}.{MEMBERS}", "redirected to the login page"),
        ("members_class", f"{__name__}.{MEMBERS}", "redirected to the login page"),
        ("refuses", f"{__name__}.{REFUSES}", DENIED),
        ("refuses_class", f"{__name__}.{REFUSES}", DENIED),
        ("admin", "django.contrib.admin.sites.AdminSite.has_permission", "redirected to /admin/login/"),
    ],
)
def test_denied(trace, url, by, reason):
    response = Client(raise_request_exception=False).get(f"/{url}/")
    assert response.status_code in (302, 403)
    assert said(trace) == (by, reason, False)


@pytest.mark.parametrize("url", ["login_mixin", "permission_mixin", "test_mixin", "login_required"])
def test_logged_in(trace, user, url):
    client = Client()
    client.force_login(user)
    trace.clear()
    response = client.get(f"/{url}/")
    if url.startswith("login"):
        assert response.content == b"ran"
        assert said(trace) == (None, None, True)
    else:
        assert response.status_code == 403
        assert said(trace)[1:] == (DENIED, False)


def test_csrf(trace):
    response = Client(enforce_csrf_checks=True).post("/page/")
    assert response.status_code == 403
    assert said(trace) == ("django.middleware.csrf.CsrfViewMiddleware", "CSRF cookie not set.", False)


@pytest.mark.parametrize("url", ["sends_away", "sends_away_staff", "members_sends_away", "raises", "test_then_raises"])
def test_a_view_that_refuses_by_itself_has_run(trace, url):
    assert Client().get(f"/{url}/").status_code in (302, 403)
    assert said(trace) == (None, None, True)


def test_who_asked_for_the_user_first(trace, user):
    client = Client()
    client.force_login(user)
    trace.clear()
    assert client.get("/asks_one/").content == b"[False, False, False, False, False, False, False, False, False]"
    loaded = trace.named("auth load_user")
    assert loaded.attributes["code.line.number"] == asks_one.__code__.co_firstlineno + 1
    assert loaded.attributes["django.auth.anonymous"] is False
    below = [span.name for span in trace.spans if span.parent and span.parent.span_id == loaded.context.span_id]
    assert sorted(below) == ["SELECT auth_user", "session load"]
    checks = [span for span in trace.spans if span.name == "auth has_perm"]
    assert [(span.attributes["django.auth.query_count"], span.attributes["django.auth.granted"]) for span in checks]
    assert trace.findings == []


def test_detects_permission_queries(trace, user):
    for number in range(6):
        User.objects.create_user(f"user{number}").user_permissions.add(Permission.objects.first())
    trace.clear()
    Client().get("/asks_each/")
    found = [each for each in trace.findings if each.type == "permission_queries"]
    assert len(found) == 1
    found[0].attributes()
    assert found[0].message.startswith("permissions are asked of the database 7 times from one place (14 queries")
    assert found[0].site.line == asks_each.__code__.co_firstlineno + 1
