"""Where no line of the application runs, its class is the place: DRF's `fields.py:104` is nobody's."""

from __future__ import annotations

import linecache

import pytest
from django import forms
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
