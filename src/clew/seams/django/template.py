"""`template page.html` (root, include, extends) and `block content`: rendering by Django's own engine.

We stand at `Template.render`, which root renders, `{% include %}` and inclusion tags all go through (not `_render`: the
test environment replaces it), at its twin for `{% partialdef %}` (Django 6.0), at `ExtendsNode.render`, which renders
the parent past `Template.render` (only `get_parent` knows which one), and at `BlockNode.render`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from opentelemetry.trace import get_current_span

from clew import attributes as names
from clew.core import configuration, isolation, local_trace
from clew.core.light_span import LightSpan
from clew.core.seam import Patch, Seam, SpanDoc, Wrap, like
from clew.core.spans import OpenSpan, Scope
from clew.seams.django.template_facts import NAMELESS, KnownTemplates, plain

SCOPE = Scope(__name__)
KNOWN = KnownTemplates("django")
# Until the parent is known; told from the names of others by identity.
_UNKNOWN_PARENT = "template <parent>"
_Opened = tuple[OpenSpan, Any]


def _partial_name(partial: Any) -> str:
    return f"{plain(partial.origin.template_name) or NAMELESS}#{partial.name}"


def _wrap_render(name_of: Callable[[Any], Any]) -> Wrap:
    def wrap(original: Any) -> Any:
        def render(self: Any, context: Any) -> Any:
            __traceback_hide__ = True
            opened = _open(self, name_of, context)
            if opened is None:
                return original(self, context)
            error = None
            try:
                return original(self, context)
            except BaseException as raised:
                error = raised
                raise
            finally:
                _close(opened, error)
                del error

        return like(original, render)

    return wrap


def _open(template: Any, name_of: Callable[[Any], Any], context: Any) -> _Opened | None:
    local = local_trace.current()
    if local is not None and not local.is_recording:
        return None
    try:
        facts = KNOWN.facts(name_of(template), template.origin.name)
        attributes, key = facts.roles["root" if context.template is None else "include"]
        span = SCOPE.open(facts.span_name, attributes.copy())
        return None if span is None else (span, key)
    except Exception as ours:  # noqa: BLE001 - ours must not reach the application
        isolation.report(ours, __name__)
        return None


def _close(opened: _Opened, error: BaseException | None) -> None:
    try:
        span, key = opened
        span.close_folded(span.above, key, error)
    except Exception as ours:  # noqa: BLE001 - ours must not reach the application
        isolation.report(ours, __name__)


def _wrap_extends(original: Any) -> Any:
    def render(self: Any, context: Any) -> Any:
        __traceback_hide__ = True
        span = SCOPE.open(_UNKNOWN_PARENT, {names.DJANGO_TEMPLATE_ENGINE: "django", names.DJANGO_TEMPLATE_ROLE: "extends"})
        if span is None:
            return original(self, context)
        error = None
        try:
            return original(self, context)
        except BaseException as raised:
            error = raised
            raise
        finally:
            _close((span, None), error) if error is not None else span.close()
            del error

    return like(original, render)


def _wrap_get_parent(original: Any) -> Any:
    def get_parent(self: Any, context: Any) -> Any:
        __traceback_hide__ = True
        parent = original(self, context)
        try:
            span: Any = get_current_span()
            if getattr(span, "name", None) is _UNKNOWN_PARENT:
                _name_parent(span, parent)
        except Exception as ours:  # noqa: BLE001 - ours must not reach the application
            isolation.report(ours, __name__)
        return parent

    return like(original, get_parent)


def _name_parent(span: Any, parent: Any) -> None:
    facts = KNOWN.facts(parent.name, parent.origin.name)
    span.update_name(facts.span_name)
    note = span.note if isinstance(span, LightSpan) else span.set_attribute
    for key, value in facts.roles["extends"][0].items():
        note(key, value)


def _wrap_block(original: Any) -> Any:
    def render(self: Any, context: Any) -> Any:
        __traceback_hide__ = True
        opened = _open_block(self, context)
        if opened is None:
            return original(self, context)
        error = None
        try:
            return original(self, context)
        except BaseException as raised:
            error = raised
            raise
        finally:
            _close_block(opened, error)
            del error

    return like(original, render)


def _open_block(node: Any, context: Any) -> _Opened | None:
    local = local_trace.current()
    if local is not None and not local.is_recording:
        return None
    try:
        span = SCOPE.open(f"block {node.name}", {})
        if span is None:
            return None
        # The definition that counts is the one of the template furthest down; rendering takes it off the stack.
        overridden = context.render_context.get("block_context")
        stack = overridden.blocks.get(node.name) if overridden is not None else None
        return span, (stack[-1] if stack else node)
    except Exception as ours:  # noqa: BLE001 - ours must not reach the application
        isolation.report(ours, __name__)
        return None


def _close_block(opened: _Opened, error: BaseException | None) -> None:
    try:
        span, block = opened
        settings = configuration.settings
        if span.is_trivial and error is None and settings.detail != "all":
            if span.elapsed_ns < settings.block_threshold_ms * 1e6:
                span.discard()
                return
        for key, value in _block_attributes(block).items():
            span.note(key, value)
        span.close_folded(span.above, (block.name, "block"), error)
    except Exception as ours:  # noqa: BLE001 - ours must not reach the application
        isolation.report(ours, __name__)


def _block_attributes(block: Any) -> dict[str, Any]:
    found = {
        names.DJANGO_TEMPLATE_NAME: block.name,
        names.DJANGO_TEMPLATE_ENGINE: "django",
        names.DJANGO_TEMPLATE_ROLE: "block",
    }
    origin = getattr(block, "origin", None)
    if origin is not None:
        facts = KNOWN.facts(origin.template_name, origin.name)
        found |= {key: value for key, value in facts.roles["root"][0].items() if key == names.CODE_FILE_PATH}
    if block.token is not None:
        found[names.CODE_LINE_NUMBER] = block.token.lineno
    return found


_ATTRIBUTES = (
    names.DJANGO_TEMPLATE_NAME,
    names.DJANGO_TEMPLATE_ENGINE,
    names.DJANGO_TEMPLATE_ROLE,
    names.CODE_FILE_PATH,
)
