from __future__ import annotations

import asyncio
import importlib
import sys
from importlib import metadata

import pytest
from django.db import transaction
from django.http import HttpResponse
from django.template.response import SimpleTemplateResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import path

from clew.engine.wrapper import Around
from clew.source import call_site, frames
from clew.source.phase import phase_of
from clew.source.place import place
from clew.source.stack import MAX_FRAMES, stack
from clew.testing import tracing

phases: list[tuple[str, str]] = []


def say(where):
    phases.append((where, phase_of(sys._getframe())))


class Middleware:
    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        say("request")
        response = self.get_response(request)
        say("response")
        return response

    def process_view(self, request, view, args, kwargs):
        say("process_view")

    def process_exception(self, request, exception):
        say("process_exception")
        return HttpResponse()


def view(request):
    say("view")
    if "fail" in request.GET:
        raise ValueError
    response = SimpleTemplateResponse("nowhere")
    response.content = b"rendered"
    return response


async def aview(request):
    say("aview")
    return HttpResponse()


urlpatterns = [path("", view), path("async/", aview)]


@pytest.fixture(params=[True, False], ids=["traced", "without the view's seam"])
def site(request):
    phases.clear()
    ours = override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[f"{__name__}.Middleware"])
    with ours, tracing(django_view=request.param):
        yield request.param


SYNC, ASYNC = Client().get, lambda *args: asyncio.run(AsyncClient().get(*args))


@pytest.mark.parametrize("client", [SYNC, ASYNC], ids=["sync", "async"])
@pytest.mark.parametrize(("url", "where"), [("/", "view"), ("/async/", "aview")])
def test_the_phases_of_a_request(site, client, url, where):
    client(url)
    # Django runs it in a loop of its own: nothing but clew's wrapper is on that stack.
    is_elsewhere = (client, url) == (SYNC, "/async/")
    assert phases == [
        ("request", "middleware"),
        ("process_view", "middleware"),
        (where, "" if is_elsewhere and not site else "view"),
        ("response", "middleware"),
    ]


def test_an_exception_is_told_by_middleware(site):
    Client().get("/?fail=1")
    assert ("process_exception", "middleware") in phases


@pytest.mark.django_db(transaction=True)
def test_a_hook_in_and_outside_a_transaction(site):
    transaction.on_commit(lambda: say("at once"))
    with transaction.atomic():
        transaction.on_commit(lambda: say("later"))
    assert phases == [("at once", "hook"), ("later", "hook")]


@pytest.mark.django_db
def test_a_hook_that_a_test_runs(site, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        transaction.on_commit(lambda: say("hook"))
    assert phases == [("hook", "hook")]


def innermost():
    return list(stack(sys._getframe())), place(sys._getframe())


def test_frames_of_clew_are_left_out_and_not_counted(monkeypatch):
    around = Around(lambda: None)
    function = innermost
    for _ in range(MAX_FRAMES + 10):
        function = around(function)
    walked, place = function()
    assert [frame.f_code.co_name for frame in walked[:2]] == ["innermost", sys._getframe().f_code.co_name]
    assert not any(frames.kind_of(frame) == frames.OURS for frame in walked)
    assert place


def in_library(code, space):
    """Run as Django's own code."""
    exec(compile(code, importlib.import_module("django").__file__, "exec"), space)


@pytest.mark.parametrize("is_applications", [False, True], ids=["only the library's", "the application's inside"])
def test_a_search_goes_no_further_than_one_that_has_found_nothing(is_applications):
    sites = []

    def search(caller):
        sites.append(call_site.call_site(sys._getframe(1), id(caller)))

    def applications(ask):
        ask()

    wrapped = Around(lambda caller: callers.append(caller))
    callers = []
    space = {
        "__name__": "django.fake",
        "search": search,
        "callers": callers,
        "go": applications if is_applications else None,
    }
    in_library("def ask(): search(callers[0])\ndef inner(): (go or (lambda ask: ask()))(ask)", space)
    space["inner"] = wrapped(space["inner"])
    in_library("def outer(): inner()", space)
    space["outer"]()
    callers.clear()
    assert [site and site.function.rpartition(".")[2] for site in sites] == [
        "applications" if is_applications else None
    ]


def test_a_line_is_the_same_place_with_and_without_a_wrapper():
    wrapped = Around(lambda: None)(innermost)
    one, other, more = [function()[1] for function in (innermost, wrapped, innermost)]
    assert one == other == more


def test_what_is_ours_is_known_by_its_module():
    assert frames._kind("/anywhere.py", "traced", {"__name__": "clew.seams.django.view"}) == frames.OURS
    assert frames._kind("/anywhere.py", "traced", {"__name__": "clewless.views"}) == frames.APPLICATION
    assert frames._kind("/anywhere.py", "f", {"__name__": "clew.cli.demo_site.views"}) == frames.APPLICATION
    assert frames._kind("<clew wrapper: importlib _bootstrap>", "wrapper", {"__name__": 1}) == frames.LIBRARY


def test_the_wrapper_of_a_view_says_that_it_is_one():
    def hook():
        return None

    def run():
        return phase_of(sys._getframe())

    assert Around(hook)(run)() == ""
    hook.__module__ = "clew.seams.django.view"
    assert Around(hook)(run)() == "view"


def test_the_site_is_told_by_its_urls_where_its_settings_lie_elsewhere(monkeypatch, tmp_path):
    """A product that is installed (nautobot, sentry) has its owner's settings in a file outside the package."""
    package = tmp_path / "site-packages" / "product"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "urls.py").write_text("urlpatterns = []")
    (tmp_path / "owner_config.py").write_text("")
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("product.urls")
    importlib.import_module("owner_config")
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "owner_config")
    try:
        frames.reset()
        assert frames._by_file(str(package / "views.py")) == frames.THIRD_PARTY
        with override_settings(ROOT_URLCONF="product.urls"):
            frames.reset()
            assert frames._by_file(str(package / "views.py")) == frames.APPLICATION
            assert frames._by_file(str(package.parent / "other" / "views.py")) == frames.THIRD_PARTY
    finally:
        monkeypatch.undo()
        frames.reset()


@pytest.mark.parametrize(
    ("where", "asked", "kind"), [("", 0, frames.THIRD_PARTY), ("site-packages", 1, frames.APPLICATION)]
)
def test_distributions_are_read_once_and_only_for_an_installed_project(monkeypatch, tmp_path, where, asked, kind):
    """It takes hundreds of milliseconds; without it, a library in `shop-venv` is not the project in `shop`."""
    reads = []
    monkeypatch.setattr(metadata, "packages_distributions", lambda: reads.append(1) or {"shop": ["x"], "shop2": ["x"]})
    package = tmp_path / where / "shop"
    package.mkdir(parents=True)
    for name in ("__init__", "urls", "settings"):
        (package / f"{name}.py").write_text("urlpatterns = []")
    libraries = tmp_path / "site-packages" if where else tmp_path / "shop-venv" / "site-packages"
    monkeypatch.syspath_prepend(str(libraries))
    monkeypatch.syspath_prepend(str(package.parent))
    for name in ("shop", "shop.urls", "shop.settings"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    importlib.import_module("shop.settings")
    importlib.import_module("shop.urls")
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "shop.settings")
    frames._installed_together.cache_clear()
    try:
        with override_settings(ROOT_URLCONF="shop.urls", WSGI_APPLICATION="shop.wsgi.application"):
            frames.reset()
            assert frames._by_file(str(package / "views.py")) == frames.APPLICATION
            assert frames._by_file(str(libraries / "shop2" / "views.py")) == kind
            assert frames._by_file(str(libraries / "other" / "views.py")) == frames.THIRD_PARTY
        assert len(reads) == asked
    finally:
        monkeypatch.undo()
        frames.reset()
        frames._installed_together.cache_clear()
