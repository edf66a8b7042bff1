from __future__ import annotations

from asgiref.sync import iscoroutinefunction
from django.http import HttpResponse, HttpResponseBase
from django.urls import path

from tests.detectors.corpus import administration
from tests.detectors.corpus.case import CASES, Case
from tests.detectors.corpus.cases import rest


def view_of(case: Case):
    """A view that runs the case."""
    if iscoroutinefunction(case.function):

        async def view(request):
            return as_response(await case.function(request))
    else:

        def view(request):
            return as_response(case.function(request))

    return view


def as_response(result) -> HttpResponseBase:
    return result if isinstance(result, HttpResponseBase) else HttpResponse(type(result).__name__)


urlpatterns = [
    *[path(f"{case.name}/", view_of(case)) for case in CASES.values() if not case.path],
    path("admin/", administration.site.urls),
    path("rest/posts/", rest.PostList.as_view()),
    path("rest/selected/", rest.SelectedPostList.as_view()),
    path("rest/function/", rest.function_view),
]
