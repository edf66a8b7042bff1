"""contrib's DjangoInstrumentor: what it is told is kept, and it keeps its hands off the site's settings.

Its environment variables, `instrument()` with its hooks, excluded URLs and position, and its metrics keep working: we
stand at `instrument()`, hear what it is given, and let it initialise on a stand-in for `django.conf.settings`. The
original configures empty settings when it finds none, and the site's own are ignored from then on (contrib #677, #1707,
#2023). Its middleware steps aside for the request seam. It imports Django, so it is imported when Django is set up.
Without its names the request seam stands all the same, by the environment variables.
"""

from __future__ import annotations

import importlib
import os
import sys
from types import SimpleNamespace
from typing import Any

from opentelemetry.util.http import ExcludeList, get_excluded_urls, get_traced_request_attrs, parse_excluded_urls

from clew.engine import isolation, needs
from clew.engine.needs import Need
from clew.engine.seam import Patch, Seam
from clew.engine.wrapper import Around

MODULE = "opentelemetry.instrumentation.django"
MIDDLEWARE = f"{MODULE}.middleware.otel_middleware"
SQL_COMMENTER = f"{MODULE}.middleware.sqlcommenter_middleware.SqlCommenter"
_MIDDLEWARE_PATH = f"{MIDDLEWARE}._DjangoMiddleware"
_CHECKS = ("skip_dep_check", "raise_exception_on_conflict")


class State:
    """The configuration of contrib's instrumentation, for the request seam."""

    middleware_position = 0
    is_sql_commenter_on = False
    is_switched_off = False
    was_instrumented = False
    is_told = False
    request_hook: Any = None
    response_hook: Any = None
    excluded_urls: ExcludeList | None = None
    traced_attributes: list[str] = []
    # `http`, `http/dup` or `default`: which names of attributes are wanted.
    mode = "default"


def middleware() -> Any:
    """contrib's middleware class, which holds its metrics; None where there is none (yet)."""
    return getattr(sys.modules.get(MIDDLEWARE), "_DjangoMiddleware", None)


def _tell(told: dict[str, Any]) -> None:
    """Take what `instrument()` was given, and the environment for the rest, as contrib does."""
    position = os.environ.get("OTEL_PYTHON_DJANGO_MIDDLEWARE_POSITION", told.get("middleware_position") or 0)
    State.middleware_position = max(0, int(position)) if str(position).isdecimal() else 0
    State.is_sql_commenter_on = bool(told.get("is_sql_commentor_enabled"))
    State.is_switched_off = os.environ.get("OTEL_PYTHON_DJANGO_INSTRUMENT") == "False"
    State.request_hook, State.response_hook = told.get("request_hook"), told.get("response_hook")
    excluded = told.get("excluded_urls")
    State.excluded_urls = get_excluded_urls("DJANGO") if excluded is None else parse_excluded_urls(excluded)
    State.traced_attributes = list(get_traced_request_attrs("DJANGO"))
    wanted = [each.strip() for each in os.environ.get("OTEL_SEMCONV_STABILITY_OPT_IN", "").split(",")]
    State.mode = next((mode for mode in ("http/dup", "http") if mode in wanted), "default")


def prepare() -> None:
    """Read the environment; called when the request seam is installed."""
    State.is_told = False
    State.was_instrumented = _is_instrumented()
    _tell({})
    SEAM.install()
    MIDDLEWARE_SEAM.install()


def take_over() -> None:
    """Initialise contrib as `opentelemetry-instrument` does; called when Django is set up."""
    if State.is_told:
        return
    try:
        module = importlib.import_module(MODULE)
    except ImportError as error:
        isolation.warn(f"clew: contrib's hooks and metrics of requests are not there: {error} (`clew doctor`)")
        return
    instrumentor = module.DjangoInstrumentor()
    if not SEAM.is_installed or State.is_told:
        return
    if instrumentor.is_instrumented_by_opentelemetry:
        held = middleware()
        hooks = {name: getattr(held, f"_otel_{name}", None) for name in ("request_hook", "response_hook")}
        instrumentor._instrument(**hooks)
    else:
        instrumentor.instrument(skip_dep_check=True)


def give_back() -> None:
    """Restore contrib's instrumentation."""
    if not State.was_instrumented and _is_instrumented():
        sys.modules[MODULE].DjangoInstrumentor()._is_instrumented_by_opentelemetry = False
    MIDDLEWARE_SEAM.uninstall()
    SEAM.uninstall()


def _is_instrumented() -> bool:
    instrumentor = getattr(sys.modules.get(MODULE), "DjangoInstrumentor", None)
    return instrumentor is not None and instrumentor().is_instrumented_by_opentelemetry


def _stand_in() -> Any:
    module: Any = sys.modules[MODULE]
    real, module.settings = module.settings, SimpleNamespace(MIDDLEWARE=[])
    return real


def _told(keywords: dict[str, Any], opened: Any) -> None:
    State.is_told = True
    _tell(keywords)


def _put_back(opened: Any, error: BaseException | None) -> None:
    module: Any = sys.modules[MODULE]
    module.settings = opened


def _instrument_again(instrumentor: Any, /, keywords: dict[str, Any]) -> Any:
    """Hooks given after `opentelemetry-instrument` has instrumented count; contrib ignores them."""
    if not instrumentor.is_instrumented_by_opentelemetry:
        return NotImplemented
    given = {name: value for name, value in keywords.items() if name not in _CHECKS}
    if given:
        instrumentor._instrument(**given)
    return None


def _nothing() -> None:
    """In the place of what its middleware does: the request seam does it."""


def _the_response(response: Any) -> Any:
    return response


def _change_chain() -> Any:
    """Hide contrib's middleware while Django builds its chain, and insert its SQL commenter, as the site asked."""
    from django.conf import settings

    before = settings.MIDDLEWARE
    chain = [each for each in before if each != _MIDDLEWARE_PATH]
    if State.is_sql_commenter_on and SQL_COMMENTER not in chain:
        chain.insert(State.middleware_position, SQL_COMMENTER)
    if chain == list(before):
        return None
    settings.MIDDLEWARE = chain
    return before


def _restore_chain(opened: Any, error: BaseException | None) -> None:
    from django.conf import settings

    settings.MIDDLEWARE = opened


SEAM = Seam(
    "django.request (contrib's instrument())",
    patches=(
        Patch(MODULE, "DjangoInstrumentor._instrument", Around(_stand_in, _told, close=_put_back)),
        Patch(MODULE, "DjangoInstrumentor.instrument", Around(instead=_instrument_again)),
    ),
    needs=(Need(MODULE, "settings"), Need(MODULE, "DjangoInstrumentor._is_instrumented_by_opentelemetry")),
)
# A site whose contrib was instrumented before clew was set up has its middleware in the settings, or in its chain.
MIDDLEWARE_SEAM = Seam(
    "django.request (contrib's middleware)",
    patches=(
        Patch("django.core.handlers.base", "BaseHandler.load_middleware", Around(_change_chain, close=_restore_chain)),
        Patch(MIDDLEWARE, "_DjangoMiddleware.process_request", Around(instead=_nothing)),
        Patch(MIDDLEWARE, "_DjangoMiddleware.process_response", Around(instead=_the_response)),
        Patch(MIDDLEWARE, "_DjangoMiddleware.process_view", Around(instead=_nothing)),
        Patch(MIDDLEWARE, "_DjangoMiddleware.process_exception", Around(instead=_nothing)),
    ),
    needs=needs.functions(MIDDLEWARE, "_DjangoMiddleware._otel_request_hook", "_DjangoMiddleware._otel_response_hook"),
)
