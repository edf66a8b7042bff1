"""The site's own middleware, written as a function, as most are."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


def maintenance(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Answer for the part of the site that is closed, before any view is asked."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if request.path.startswith("/closed/"):
            return render(request, "shop/closed.html", status=503)
        return get_response(request)

    return middleware
