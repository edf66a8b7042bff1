"""What the collectors' redaction does not look into holds nothing that a visitor, an error or a value has said."""

from __future__ import annotations

import pytest
from django.db import connection
from django.http import HttpResponse
from django.template import engines
from django.test import Client, override_settings
from django.urls import path

from clew.attributes import DESCRIPTIONS, FREE_TEXT, is_free_of_secrets
from clew.testing import tracing

from . import SINGLE, TIER1, load

pytestmark = pytest.mark.django_db
CANARY = "canary4111111111111111"


def page(request, word):
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT '{word}', %s", [word])
    engines["django"].from_string("{{ word }}").render({"word": word})
    if request.method == "POST":
        raise ValueError(f"no {word}")
    return HttpResponse(word, headers={"X-Word": word})


urlpatterns = [path("page/<word>/", page)]


def ignored(config):
    return set(load(config)["processors"]["redaction"]["ignored_keys"])


@pytest.mark.parametrize("config", [SINGLE, TIER1])
def test_it_is_what_the_registry_says(config):
    assert ignored(config) == {name for name in DESCRIPTIONS if is_free_of_secrets(name)}
    assert not ignored(config) & FREE_TEXT
    assert not {"url.path", "db.query.text", "exception.message", "clew.warnings"} & ignored(config)


@pytest.mark.parametrize("method", ["get", "post"])
def test_it_holds_no_canary(method):
    client = Client(raise_request_exception=False, headers={"User-Agent": CANARY, "Referer": CANARY, "X-Word": CANARY})
    client.cookies["word"] = CANARY
    with tracing() as trace, override_settings(ROOT_URLCONF=__name__):
        getattr(client, method)(f"/page/{CANARY}/?word={CANARY}", {"word": CANARY})
    held = [*trace.spans, *(event for span in trace.spans for event in span.events)]
    said = {name for each in held for name, value in each.attributes.items() if CANARY in str(value)}
    assert "url.path" in said, "a canary nobody could see"
    assert not said & ignored(SINGLE)
    assert not [span.name for span in trace.spans if CANARY in span.name]
