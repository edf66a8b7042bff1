"""GraphQL views: the operation, and what its resolvers raise."""

from __future__ import annotations

import json
import linecache

import pytest
from django.core.exceptions import PermissionDenied
from django.test import Client, override_settings
from django.urls import path
from opentelemetry.trace import StatusCode

from clew.testing import tracing

graphene = pytest.importorskip("graphene")
strawberry = pytest.importorskip("strawberry")

from graphene_django.views import GraphQLView  # noqa: E402 - where it is installed
from graphql import GraphQLError  # noqa: E402 - where it is installed
from strawberry.django import views as strawberry_views  # noqa: E402 - where it is installed

ERRORS = {"broken": RuntimeError("x"), "refused": PermissionDenied(), "answer": GraphQLError("no")}


def raise_it(which):
    raise ERRORS[which]


class GrapheneQuery(graphene.ObjectType):
    item = graphene.String(which=graphene.String())

    def resolve_item(root, info, which=""):
        return raise_it(which) if which else "item"


@strawberry.type
class StrawberryQuery:
    @strawberry.field
    def item(self, which: str = "") -> str:
        return raise_it(which) if which else "item"


@strawberry.type
class AsyncQuery:
    @strawberry.field
    async def item(self, which: str = "") -> str:
        return raise_it(which) if which else "item"


urlpatterns = [
    path("graphene/", GraphQLView.as_view(schema=graphene.Schema(query=GrapheneQuery))),
    path("strawberry/", strawberry_views.GraphQLView.as_view(schema=strawberry.Schema(StrawberryQuery))),
    path("async/", strawberry_views.AsyncGraphQLView.as_view(schema=strawberry.Schema(AsyncQuery))),
]


def posted(library, query):
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[]), tracing() as trace:
        response = Client().post(f"/{library}/", {"query": query}, content_type="application/json")
    (view,) = [span for span in trace.spans if span.name.startswith("view ")]
    return json.loads(response.content), view


LIBRARIES = pytest.mark.parametrize("library", ["graphene", "strawberry", "async"])


@LIBRARIES
def test_the_operation_is_told(library):
    answer, view = posted(library, "query Shown { item }")
    assert answer == {"data": {"item": "item"}}
    assert view.attributes["graphql.operation.name"] == "Shown"
    assert view.attributes["graphql.operation.type"] == "query"
    assert view.attributes["django.view.handler"] == "dispatch"
    assert view.status.status_code is StatusCode.UNSET


@LIBRARIES
@pytest.mark.filterwarnings("ignore")
def test_an_exception_of_a_resolver_is_told_with_its_line(library):
    answer, view = posted(library, '{ item(which: "broken") }')
    assert answer["errors"]
    (event,) = view.events
    assert view.status.status_code is StatusCode.ERROR
    assert event.attributes["exception.type"] == "RuntimeError"
    assert event.attributes["graphql.path"] == "item"
    line = linecache.getline(event.attributes["code.file.path"], event.attributes["code.line.number"])
    assert line.strip() == "raise ERRORS[which]"


@LIBRARIES
@pytest.mark.parametrize("which", ["refused", "answer"])
def test_an_answer_is_no_error(library, which):
    answer, view = posted(library, f'{{ item(which: "{which}") }}')
    assert answer["errors"]
    assert view.status.status_code is StatusCode.UNSET
    assert not view.events


@LIBRARIES
def test_a_query_that_is_wrong_is_no_error(library):
    answer, view = posted(library, "{ nothing }")
    assert answer["errors"]
    assert view.status.status_code is StatusCode.UNSET
