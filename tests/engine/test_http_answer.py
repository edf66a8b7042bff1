"""Which exceptions are answers of 4xx: by the framework whose code they leave."""

from __future__ import annotations

import pytest
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.http import Http404

from clew.engine.http_answer import is_answer


class Missing(Http404):
    """A site's own."""


class Upstream(Exception):
    """Of a client library: Django makes a 500 of it."""

    status_code = 404


def of(module, status):
    """An exception of a framework that answers by what it says."""
    return type("Answer", (Exception,), {"__module__": module, "status_code": status})()


def by_property(module):
    return type("Answer", (Exception,), {"__module__": module, "status_code": property(lambda self: 1 / 0)})()


@pytest.mark.parametrize(
    "error",
    [Http404(), Missing(), PermissionDenied(), SuspiciousOperation(), of("rest_framework.x", 404), of("ninja.y", 499)],
)
def test_an_answer(error):
    assert is_answer(error)


@pytest.mark.parametrize(
    "error", [None, ValueError(), Upstream(), of("rest_framework.x", 503), of("ninja.y", "404"), by_property("ninja.y")]
)
def test_an_error(error):
    assert not is_answer(error)
