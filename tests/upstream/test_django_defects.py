"""Each defect of contrib's Django instrumentation that clew mends: contrib alone shows it, clew does not.

Where a test fails for `upstream`, contrib has mended the defect and clew's mend can go.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import django
import pytest


def run(mode):
    env = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "CLEW_"))}
    done = subprocess.run(
        [sys.executable, "-m", "tests.upstream.program", mode], capture_output=True, text=True, timeout=120, env=env
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def upstream():
    return run("upstream")


@pytest.fixture(scope="module")
def clew():
    return run("clew")


@pytest.fixture(scope="module")
def nothing():
    return run("nothing")


def server(result, scenario):
    found = [span for span in result[scenario]["spans"] if span["kind"] == "SERVER"]
    return found[0] if found else None


def exceptions(span):
    return [attributes["exception.type"] for name, attributes in span["events"] if name == "exception"]


def test_404_by_exception_is_no_error(upstream, clew):
    """Defect 2: Http404 raised by a view makes the SERVER span an ERROR."""
    assert server(upstream, "not_found")["status"] == "ERROR"
    span = server(clew, "not_found")
    assert (span["status"], span["attributes"]["http.response.status_code"]) == ("UNSET", 404)
    assert exceptions(span) == []


def test_exception_in_a_middleware_is_recorded(upstream, clew):
    """Defect 3: an exception in a middleware leaves no exception event."""
    assert exceptions(server(upstream, "middleware_raises")) == []
    span = server(clew, "middleware_raises")
    assert (span["status"], exceptions(span)) == ("ERROR", ["ValueError"])
    assert span["attributes"]["django.response.raised_by"] == "tests.site.middleware.RaisingMiddleware"


def test_name_follows_a_switched_urlconf(upstream, clew):
    """Defect 4, contrib #2710: the name is resolved with the wrong urlconf."""
    assert server(upstream, "urlconf_switched")["name"] == "GET plain/"
    assert server(clew, "urlconf_switched")["name"] == "GET <slug:anything>/"


def test_disallowed_host_has_a_span(upstream, clew):
    """Defect 5, contrib #1781: DisallowedHost is a 400 without a span."""
    assert server(upstream, "disallowed_host") is None
    span = server(clew, "disallowed_host")
    assert (span["status"], span["attributes"]["http.response.status_code"]) == ("UNSET", 400)


@pytest.mark.parametrize("scenario", ["stream", "astream"])
def test_spans_of_a_streamed_body_belong_to_the_request(upstream, clew, scenario):
    """Defect 6, contrib #4681: the span ends before the body, whose spans become traces of their own."""
    assert len({span["trace"] for span in upstream[scenario]["spans"]}) > 1
    assert len({span["trace"] for span in clew[scenario]["spans"]}) == 1
    names = [span["name"] for span in clew[scenario]["spans"]]
    assert {"part 0", "part 1", "part 2"} < set(names)
    assert names[-1] == f"GET {scenario}/"


def test_cancelled_request_is_exported(upstream, clew):
    """Defect 7: the span of a cancelled request never ends."""
    if django.VERSION < (5, 0):
        pytest.skip("Django 4.2 does not cancel a request whose client went away")
    assert server(upstream, "cancelled") is None
    span = server(clew, "cancelled")
    assert (span["name"], span["status"]) == ("GET slow/", "UNSET")
    assert span["attributes"]["django.request.cancelled"] is True


def test_system_exit_ends_the_request_as_an_error(upstream, clew):
    """Defect 7: SystemExit leaves no status, or no span."""
    span = server(upstream, "system_exit")
    assert span is None or span["status"] == "UNSET"
    span = server(clew, "system_exit")
    assert (span["status"], exceptions(span)) == ("ERROR", ["SystemExit"])


def test_async_view_makes_no_hop_the_site_does_not_have(upstream, clew, nothing):
    """Defect 8: contrib's middleware is sync-only; the chain below it is pushed through a thread."""
    hops = nothing["hops_of_async_view"]["returned"]
    assert upstream["hops_of_async_view"]["returned"] > hops
    assert clew["hops_of_async_view"]["returned"] == hops


def test_url_path_and_server_address(upstream, clew):
    """Defect 9: `url.path` is missing without RAW_URI, `server.address` holds the port."""
    before = server(upstream, "no_raw_uri")["attributes"]
    assert "url.path" not in before
    assert before["server.address"] == "testserver:8000"
    after = server(clew, "no_raw_uri")["attributes"]
    assert (after["url.path"], after["server.address"], after["server.port"]) == ("/plain/", "testserver", 8000)
