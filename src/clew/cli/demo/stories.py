"""The stories of `clew demo --stories`: a question about a request, and the trace that answers it.

Here and not in the site, since the demo itself has no Django settings.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from clew.cli.demo.drive import PASSWORD, USER, Browser, Step, expect
from clew.cli.demo.websocket import send_text


class Story(NamedTuple):
    """A question and its answer.

    Args:
        question: as somebody asks it who looks at a page.
        answer: what the trace says.
        status: what the page answers.
        says: words of the printed trace that are the answer.
        ask: asks for the page, once or more; one of the traces has the answer.
        is_live: it needs the process with an event loop.
    """

    question: str
    answer: str
    status: int
    says: tuple[str, ...]
    ask: Callable[[Browser], list[Step]]
    is_live: bool = False


def _together(browser: Browser) -> list[Step]:
    with ThreadPoolExecutor(3) as pool:
        return list(pool.map(browser.get, ["/stories/popular/"] * 3))


STORIES = (
    Story(
        "My view never ran: who answered?",
        "A middleware, `maintenance`, in the view's place; its template even loaded the user.",
        503,
        ("answered by middleware.maintenance",),
        lambda browser: [browser.get("/closed/")],
    ),
    Story(
        "My view never ran: why am I at the login?",
        "Its decorator, `login_required`, has sent somebody there who is not logged in.",
        302,
        ("denied by decorators.login_required",),
        lambda browser: [browser.get("/archive/")],
    ),
    Story(
        "The login fails: who refused it, and why?",
        "The directory's backend declined at once; Django's own found the user, checked the password, and declined.",
        200,
        ("LdapLikeBackend", "ModelBackend"),
        lambda browser: [_login(browser, "wrong")],
    ),
    Story(
        "My view never ran: which permission is missing?",
        "`shop.change_stock`: two queries looked for it, and found none.",
        403,
        ("shop.change_stock",),
        lambda browser: [_login(browser, PASSWORD), browser.get("/stories/shelves/")][1:],
    ),
    Story(
        "My view never ran: what is wrong with my form?",
        "It has no CSRF token, so the middleware's check refused it.",
        403,
        ("CSRF",),
        lambda browser: [browser.post("/orders/new/", csrfmiddlewaretoken="")],
    ),
    Story(
        "Who asks the database on every page?",
        "`login_required` reads `request.user`: a query for the session, one for the user; then the view's own.",
        200,
        ("auth load_user", "session load"),
        lambda browser: [browser.get("/archive/")],
    ),
    Story(
        "The cache is there; why is everybody slow at once?",
        "The value had expired, and three requests computed it at the same time.",
        200,
        ("cache_stampede",),
        _together,
    ),
    Story(
        "The view is async; why does everybody wait for it?",
        "It calls `time.sleep`, and the event loop of all requests stands meanwhile.",
        200,
        ("blocking_on_loop", "time.sleep"),
        lambda browser: [browser.get("/stories/exchange/")],
        is_live=True,
    ),
    Story(
        "The websocket is closed without a word: which message did it?",
        "`receive_json` asked for an order that is not there, and nobody caught the exception.",
        101,
        ("Progress.receive_json", "DoesNotExist"),
        lambda browser: [send_text(browser.url, "/live/", '{"order": 0}')],
        is_live=True,
    ),
)
NEEDED = ("channels", "daphne")


def _login(browser: Browser, password: str) -> Step:
    browser.get("/accounts/login/")
    return browser.post("/accounts/login/", username=USER, password=password)


def are_live_told() -> bool:
    """Whether what serves an event loop is installed."""
    return all(map(importlib.util.find_spec, NEEDED))


def visit_stories(url: str, live_url: str) -> Iterator[Step]:
    """Ask for each story's page.

    Args:
        url: where the site is.
        live_url: where its process with an event loop is; "" if there is none.

    Raises:
        DemoError: a page answers otherwise than it should.
    """
    browser, live = Browser(url), Browser(live_url)
    for story in STORIES:
        for step in story.ask(live if story.is_live else browser) if live_url or not story.is_live else ():
            told = expect(step, story.status, story.question)
            yield dataclasses.replace(told, story=story, is_live=story.is_live)
