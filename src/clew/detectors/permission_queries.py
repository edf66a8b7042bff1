"""`permission_queries`: the same kind of permission is asked of the database again and again from one place.

A user object keeps its permissions once they are loaded: who asks another object for each, loads them for each. What it
may do with one object (django-guardian) it does not keep. We stand behind every `has_perm` (seam django.auth); only
those that ran queries count. Not found: superusers and what is kept already, which ask nothing.
"""

from __future__ import annotations

import sys
from typing import Any

from clew.source.call_site import call_site
from clew.source.place import place
from clew.story.detector import Detector, watchers
from clew.story.findings import INFORMATION, WARNING, Finding
from clew.story.local_trace import LocalTrace, Slot
from clew.story.permission_check import PermissionCheck

_TYPE = "permission_queries"
_MAX_PLACES, _LONG_MS = 200, 50
_MODEL = "django.contrib.auth.backends.ModelBackend"


class _Asked:
    """The permission checks of one place in the code."""

    def __init__(self) -> None:
        self.count = self.query_count = self.duration_ns = 0


_PLACES: Slot[dict[int, _Asked]] = Slot()


def _on_permission(check: PermissionCheck) -> None:
    if not check.query_count:
        return
    local = check.local
    places = _PLACES.get(local)
    if places is None:
        places = _PLACES.put(local, {})
    key = place(check.frame)
    if key not in places and len(places) >= _MAX_PLACES:
        return
    asked = places.setdefault(key, _Asked())
    asked.count += 1
    asked.query_count += check.query_count
    asked.duration_ns += check.duration_ns
    if asked.count == max(watchers.threshold, 2):
        _report(local, check, asked, key)


def _report(local: LocalTrace, check: PermissionCheck, asked: _Asked, key: Any) -> None:
    def refresh(finding: Finding) -> None:
        took_ms = asked.duration_ns / 1e6
        finding.message = (
            f"permissions are asked of the database {asked.count} times from one place ({asked.query_count} queries, "
            f"{took_ms:.0f} ms)"
        )
        finding.evidence = {
            "count": asked.count,
            "query_count": asked.query_count,
            "duration_ms": round(took_ms, 3),
            "permission": check.permission,
        }
        finding.severity = WARNING if took_ms >= _LONG_MS else INFORMATION

    check.site = check.site or call_site(check.frame)
    finding = Finding(_TYPE, "", _fix(check), check.site, refresh=refresh)
    check.report(finding, (_TYPE, key))


def _fix(check: PermissionCheck) -> str:
    permission = repr(check.permission if "." in check.permission else "app.codename")
    if not check.is_of_object:
        which = "" if len(_backends()) < 2 else f", backend={_MODEL!r}"
        return (
            "ask one user object, which keeps its permissions once they are loaded (request.user); for many users, ask "
            f"the database once: get_user_model().objects.with_perm({permission}{which})"
        )
    if any(str(each).startswith("guardian.") for each in _backends()):
        return (
            "ask once for all objects: `checker = guardian.core.ObjectPermissionChecker(user)`, "
            f"`checker.prefetch_perms(objects)`, and in the loop `checker.has_perm({permission}, obj)`; or go through "
            f"`guardian.shortcuts.get_objects_for_user(user, {permission})` in its place"
        )
    return "a permission for an object is not kept: ask once which objects the user may, or let the backend keep it"


def _backends() -> Any:
    """Of the site; with several, Django wants to know which one `with_perm` asks."""
    return getattr(sys.modules["django.conf"].settings, "AUTHENTICATION_BACKENDS", ())


DETECTOR = Detector(
    _TYPE,
    doc="Permissions are asked of the database again and again from one place (`n_plus_one_threshold` times).",
    fix="Ask one user object, which keeps them; for many users, `with_perm(...)`; for many objects, django-guardian's"
    " `prefetch_perms` or `get_objects_for_user`.",
    not_found="Superusers, and permissions that the object keeps already: they ask nothing.",
    on_permission=_on_permission,
)
