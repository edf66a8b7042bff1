"""`auth has_perm`, `auth load_user`: what it costs to know who asks and what they may.

We stand at the functions that ask the backends (`_user_has_perm`), which every model of a user calls, and at
`get_user`, which `request.user` calls when somebody first looks at it: that line is told. The user and the object are
passed on and never looked at; that a permission was kept already is seen from that no query was run.
"""

from __future__ import annotations

from typing import Any

from clew import attributes as names
from clew.engine.seam import Patch
from clew.engine.wrapper import Around
from clew.source import code_location
from clew.source.call_site import barren_frame, call_site
from clew.spans import folding, shared
from clew.spans.scope import OpenSpan, Scope
from clew.story import local_trace
from clew.story.detector import watchers
from clew.story.permission_check import PermissionCheck

_AUTH, _MODELS = "django.contrib.auth", "django.contrib.auth.models"


class Permissions:
    """The patches of these, with the scope of their seam.

    Args:
        scope: the seam's.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        load = Around(self._open_load_user, self._note_user)
        self.patches = (
            Patch(_AUTH, "get_user", load, is_imported_by_name=True),
            Patch(_AUTH, "aget_user", load, is_imported_by_name=True, since="5.0"),
            Patch(_MODELS, "_user_has_perm", self._asking("has_perm"), is_imported_by_name=True),
            Patch(_MODELS, "_auser_has_perm", self._asking("has_perm"), is_imported_by_name=True, since="5.2"),
            Patch(_MODELS, "_user_has_module_perms", self._asking("has_module_perms"), is_imported_by_name=True),
            Patch(
                _MODELS,
                "_auser_has_module_perms",
                self._asking("has_module_perms"),
                is_imported_by_name=True,
                since="5.2",
            ),
        )

    def _open_load_user(self, caller: Any) -> OpenSpan | None:
        span = self._scope.open("auth load_user")
        if span is not None:
            site = call_site(caller, barren_frame(span.above))
            if site is not None:
                span.share(shared.of_line(site))
            else:
                span.barren = id(caller)
        return span

    @staticmethod
    def _note_user(opened: OpenSpan, result: Any) -> None:
        # Asked of the class: what `is_authenticated` of a site's own user does is not known.
        opened.note(names.DJANGO_AUTH_ANONYMOUS, type(result).__name__ == "AnonymousUser")

    def _asking(self, what: str) -> Around:
        def open_check(positional: Any, caller: Any) -> PermissionCheck | None:
            local = local_trace.current() or local_trace.of_current_span()
            if local is None:
                return None
            asked = positional[1] if len(positional) > 1 else None
            is_of_object = len(positional) > 2 and positional[2] is not None
            check = PermissionCheck(local, asked if type(asked) is str else "", caller, is_of_object=is_of_object)
            check.span = self._scope.open(f"auth {what}") if local.is_recording else None
            return check

        return Around(open_check, close=self._close_check)

    @staticmethod
    def _close_check(
        opened: PermissionCheck, positional: tuple[Any, ...], result: Any, error: BaseException | None
    ) -> None:
        opened.is_over()
        for watch in watchers.on_permission:
            watch(opened)
        span = opened.span
        if span is not None:
            site = opened.site = opened.site or call_site(opened.frame)
            asked_of = type(positional[2]) if opened.is_of_object else None
            key = ("auth", span.span.name if hasattr(span.span, "name") else "", site, result is True, asked_of)
            if error is None and not opened.findings and folding.has_equal(span, key):
                folding.close_equal(span, key)
            else:
                span.share(shared.of_line(site, names.DJANGO_AUTH_PERMISSION, opened.permission))
                span.note(names.DJANGO_AUTH_QUERY_COUNT, opened.query_count)
                if asked_of is not None:
                    span.note(names.DJANGO_AUTH_OBJECT, code_location.dotted_name(asked_of))
                if type(result) is bool:
                    span.note(names.DJANGO_AUTH_GRANTED, result)
                opened.attach_findings()
                folding.close_folded(span, span.above, key, error)
        opened.frame = None
