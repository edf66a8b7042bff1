"""A view served by the test client, without middleware."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpResponse
from django.test import Client, override_settings
from django.urls import path


def get(body: Callable[[], Any], route: str = "books/") -> HttpResponse:
    """Serve a request whose view runs `body`."""

    def view(request: Any) -> HttpResponse:
        body()
        return HttpResponse("ok")

    urls = type("urls", (), {"urlpatterns": [path(route, view)]})
    with override_settings(ROOT_URLCONF=urls, MIDDLEWARE=[]):
        return Client().get(f"/{route}")
