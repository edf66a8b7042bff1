"""Where no line of the application runs, its class is the place: DRF's `fields.py:104` is nobody's."""

from __future__ import annotations

import linecache

import pytest
from django import forms
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.http import HttpResponse
from django.shortcuts import render
from django.test import Client, override_settings
from django.urls import path
from django.views.generic.edit import FormView
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.viewsets import ModelViewSet

from clew.testing import tracing

HERE = "tests.source.test_owners."


class GroupSerializer(serializers.ModelSerializer):
    class Meta:
        model = Group
        fields = ("name",)


class UserSerializer(serializers.ModelSerializer):
    groups = GroupSerializer(many=True)

    class Meta:
        model = User
        fields = ("username", "groups")


class Users(ListAPIView):
    authentication_classes = permission_classes = ()
    queryset = User.objects.order_by("pk")
    serializer_class = UserSerializer


class UserSet(ModelViewSet, Users):
    """A ViewSet without a line of its own."""


class GroupForm(forms.Form):
    group = forms.ModelChoiceField(Group.objects.all())


class GroupFormView(FormView):
    form_class = GroupForm
    success_url = "/"

    def form_invalid(self, form):
        return HttpResponse("invalid")


def own_line(request):
    UserSerializer(User.objects.order_by("pk"), many=True).data  # noqa: B018 - evaluated for its queries
    return HttpResponse("own")


def rendered(request):
    return HttpResponse(GroupForm().as_div())


def rendered_by_template(request):
    return render(request, "t/own_form.html", {"form": GroupForm()})


urlpatterns = [
    path("rendered/", rendered),
    path("rendered-by-template/", rendered_by_template),
    path("users/", Users.as_view()),
    path("set/", UserSet.as_view({"get": "list"})),
    path("form/", GroupFormView.as_view()),
    path("own/", own_line),
]
SITE = override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[])


def lines(trace, name):
    found = {}
    for span in trace.spans:
        if span.name == name and "code.line.number" in span.attributes:
            place = span.attributes["code.file.path"], span.attributes["code.line.number"]
            found[span.attributes.get("code.function.name")] = linecache.getline(*place).strip()
    return found


@pytest.fixture
def users(db):
    for number in range(3):
        User.objects.create(username=f"u{number}").groups.add(Group.objects.create(name=f"g{number}"))


@pytest.mark.parametrize(("url", "view"), [("users", "Users"), ("set", "UserSet")])
def test_a_serializer_is_told_with_its_field(users, url, view):
    with SITE, tracing() as trace:
        Client().get(f"/{url}/")
    assert lines(trace, "SELECT auth_group") == {
        f"{HERE}UserSerializer.groups": "class UserSerializer(serializers.ModelSerializer):"
    }
    assert list(lines(trace, "SELECT auth_user")) == [f"{HERE}{view}"]


def test_a_finding_says_the_serializer_and_its_field(users):
    for number in range(3, 9):
        User.objects.create(username=f"u{number}")
    with SITE, tracing() as trace:
        Client().get("/users/")
    (finding,) = [each for each in trace.findings if each.type == "n_plus_one"]
    place = finding.site.short
    assert place.startswith("source/test_owners.py:")
    assert place.endswith(" (UserSerializer.groups)")


def test_a_line_of_the_application_s_own_comes_first(users):
    with SITE, tracing() as trace:
        Client().get("/own/")
    assert list(lines(trace, "SELECT auth_group")) == [f"{HERE}own_line"]


def test_a_form_is_told_with_its_field(users):
    with SITE, tracing() as trace:
        Client().post("/form/", {"group": Group.objects.first().pk})
    assert lines(trace, "SELECT auth_group") == {f"{HERE}GroupForm.group": "class GroupForm(forms.Form):"}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("rendered", "return HttpResponse(GroupForm().as_div())"),
        # Not the line of Django's `form/div.html`, which is rendered at that of the site's own template.
        ("rendered-by-template", "<form>{{ form.as_div }}</form>"),
    ],
)
def test_a_template_of_django_s_is_not_the_site_s_line(url, line):
    with SITE, tracing() as trace:
        Client().get(f"/{url}/")
    assert list(lines(trace, "SELECT auth_group").values()) == [line]


class MemberInline(admin.TabularInline):
    model = User.groups.through
    extra = 6


class GroupAdmin(admin.ModelAdmin):
    inlines = (MemberInline,)


OWN_BASE = {
    "BACKEND": "django.template.backends.django.DjangoTemplates",
    "OPTIONS": {
        "context_processors": [
            "django.template.context_processors.request",
            "django.contrib.auth.context_processors.auth",
            "django.contrib.messages.context_processors.messages",
        ],
        "loaders": [
            ("django.template.loaders.locmem.Loader", {"admin/base_site.html": '{% extends "admin/base.html" %}'}),
            "django.template.loaders.app_directories.Loader",
        ],
    },
}


def change_form():
    site = admin.AdminSite("owners")
    site.register(Group, GroupAdmin)
    urls = type("urls", (), {"urlpatterns": [path("admin/", site.urls)]})
    sessions = ["django.contrib.sessions.middleware.SessionMiddleware"]
    sessions += [f"django.contrib.{each}" for each in ("auth.middleware.AuthenticationMiddleware",)]
    sessions += ["django.contrib.messages.middleware.MessageMiddleware"]
    with override_settings(ROOT_URLCONF=urls, MIDDLEWARE=sessions, TEMPLATES=[OWN_BASE]):
        client = Client()
        client.force_login(User.objects.create_superuser("root"))
        with tracing() as trace:
            assert client.get("/admin/auth/group/add/").status_code == 200
    return trace


def test_what_an_admins_template_asks_for_a_field_is_told_with_the_admin(users):
    trace = change_form()
    (finding,) = [each for each in trace.findings if each.type == "repeated_query"]
    assert finding.site.short.endswith(" (MemberInline.user)")
    assert linecache.getline(finding.site.path, finding.site.line).startswith("class MemberInline")
