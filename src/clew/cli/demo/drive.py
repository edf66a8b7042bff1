"""Drives the demo site as a browser would: cookies, a login, forms with their CSRF token.

Every answer names its trace (header `traceresponse`), so each step knows exactly which trace is its own.
"""

from __future__ import annotations

import dataclasses
import http.cookiejar
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

from clew.cli.demo.mistakes import MISTAKES, Mistake
from clew.cli.demo.processes import DemoError

USER, PASSWORD = "ada", "thread"
_SECONDS = 30


@dataclasses.dataclass(frozen=True)
class Step:
    """A request that was made.

    Args:
        method: GET or POST.
        path: the path asked for.
        status: the answer's status.
        trace_id: 32 hex digits, or a span's name where an answer cannot say them; "" if the site did not.
        about: what it is for.
        mistake: what is wrong with the page, on purpose.
        story: the question that its trace answers.
        is_live: asked of the process with an event loop.
    """

    method: str
    path: str
    status: int
    trace_id: str
    about: str = ""
    mistake: Mistake | None = None
    story: Any = None
    is_live: bool = False


class Browser:
    """Keeps cookies, follows no redirect: each request is a step of its own.

    Args:
        url: where the site is.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._cookies = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(
            # A proxy of the environment cannot reach this machine's own address.
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPCookieProcessor(self._cookies),
            _NoRedirect(),
        )
        self._token = ""

    def get(self, path: str) -> Step:
        """Ask for a page."""
        return self._ask("GET", path, None)

    def post(self, path: str, **fields: str) -> Step:
        """Send a form, with the token of the latest page that had one."""
        data = {"csrfmiddlewaretoken": self._token, **fields}
        return self._ask("POST", path, urllib.parse.urlencode(data).encode())

    def _ask(self, method: str, path: str, data: bytes | None) -> Step:
        request = urllib.request.Request(self.url + path, data, method=method)
        try:
            with self._opener.open(request, timeout=_SECONDS) as answer:
                page = answer.read().decode("utf-8", "replace")
                status, headers = answer.status, answer.headers
        except urllib.error.HTTPError as error:
            with error:
                page = error.read().decode("utf-8", "replace")
            status, headers = error.code, error.headers
        except OSError as error:
            raise DemoError(f"{method} {path} got no answer from the site: {error}") from None
        # A login changes the token, and the one before is refused.
        if token := re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page):
            self._token = token[1]
        # W3C: version, trace id, span id, flags.
        parts = headers.get("traceresponse", "").split("-")
        return Step(method, path, status, parts[1] if len(parts) == 4 else "")


# Followed, a redirect would be a second trace behind the back of the step.
class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object, **__: object) -> None:
        return None


def visit(url: str) -> Iterator[Step]:
    """Log in, look at the orders, place one, and see the odd pages.

    Args:
        url: where the site is.

    Raises:
        DemoError: a page answers otherwise than it should.
    """
    browser = Browser(url)
    order = {"customer": "1", "thread": "gold", "metres": "300"}
    yield expect(browser.get("/accounts/login/"), 200, "the login page")
    yield expect(browser.post("/accounts/login/", username=USER, password=PASSWORD), 302, "the login")
    yield expect(browser.get("/orders/"), 200, "a page with a form")
    yield expect(browser.post("/orders/new/", **order), 302, "the form, which sends a task")
    yield expect(browser.get("/closed/"), 503, "a page that a middleware answers")
    yield expect(browser.get("/rates/"), 200, "an async view")
    yield expect(browser.get("/broken/"), 500, "an error")


def visit_mistakes(url: str) -> Iterator[Step]:
    """Ask for each page with a mistake in it, as somebody who is not logged in.

    Args:
        url: where the site is.

    Raises:
        DemoError: a page fails, which none should: the mistakes are of the kind that goes unnoticed.
    """
    browser = Browser(url)
    expect(browser.get("/"), 200, "the home page")
    for mistake in MISTAKES:
        step = browser.get(mistake.path) if mistake.method == "GET" else browser.post(mistake.path)
        yield dataclasses.replace(expect(step, 200, mistake.title), mistake=mistake)


def expect(step: Step, status: int, about: str) -> Step:
    """The step, if the page has answered as it should.

    Raises:
        DemoError: it has not.
    """
    if step.status != status:
        raise DemoError(f"{step.method} {step.path} ({about}) answered {step.status}, expected {status}")
    return dataclasses.replace(step, about=about)
