"""`session_saved_on_every_request`: pages that only read write their visitor's session each time.

That is a query (or a journey to the cache) at the end of each request, a lock on its row, and of two requests of one
visitor the later takes back what the other has written. We stand at the end of a GET whose session was saved (seam
django.session), and count how often that was so for its route, one after the other, in this process. Not found:
requests that make a session or give it a new key; unsampled ones; routes that save now and then.
"""

from __future__ import annotations

import sys

from clew import attributes as names
from clew.engine import forks
from clew.story.detector import Detector
from clew.story.findings import INFORMATION, Finding
from clew.story.local_trace import LocalTrace
from clew.story.session_use import session_use

_TYPE = "session_saved_on_every_request"
_THRESHOLD, _MAX_ROUTES = 10, 1000
_READS = ("GET", "HEAD")

# How many GETs of a route, one after the other, have saved.
_saves: dict[str, int] = {}
forks.renew(_saves.clear)


def _on_end(local: LocalTrace) -> None:
    route = local.where.get(names.HTTP_ROUTE)
    if route is None or not local.is_recording or getattr(local.root.span, "name", "").split(" ")[0] not in _READS:
        return
    use = session_use(local)
    if use is not None and use.is_created:
        return
    if use is None or not use.is_saved:
        _saves.pop(route, None)
        return
    if route not in _saves and len(_saves) >= _MAX_ROUTES:
        return
    _saves[route] = count = _saves.get(route, 0) + 1
    if count >= _THRESHOLD:
        _report(local, count)


def _report(local: LocalTrace, count: int) -> None:
    settings = getattr(sys.modules.get("django.conf"), "settings", None)
    is_setting = getattr(settings, "SESSION_SAVE_EVERY_REQUEST", False) is True
    why = "SESSION_SAVE_EVERY_REQUEST is on" if is_setting else "something writes to request.session"
    fix = (
        "SESSION_SAVE_EVERY_REQUEST = False; where sessions have to live on, save them once a day: "
        "if request.session.get('seen') != str(date.today()): request.session['seen'] = str(date.today())"
        if is_setting
        else "write to request.session only where the value has changed: "
        "if request.session.get(key) != value: request.session[key] = value"
    )
    finding = Finding(
        _TYPE,
        f"the last {count} GETs of this route have each saved their session: {why}",
        fix,
        None,
        {"count": count},
        INFORMATION,
    )
    local.report(finding, _TYPE)


DETECTOR = Detector(
    _TYPE,
    doc=f"{_THRESHOLD} GETs of a route in this process, one after the other, have each saved their session.",
    fix="`SESSION_SAVE_EVERY_REQUEST = False`; write to the session only what has changed.",
    not_found="Requests that make a session or give it a new key, unsampled ones, routes that save now and then.",
    on_end=_on_end,
)
