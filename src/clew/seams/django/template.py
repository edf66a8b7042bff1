"""`template page.html` (root, include, extends) and `block content`: rendering by Django's own engine.

We stand at `Template.render`, which root renders, `{% include %}` and inclusion tags all go through (not `_render`: the
test environment replaces it), at its twin for `{% partialdef %}` (Django 6.0), at `ExtendsNode.render`, which renders
the parent past `Template.render` (only `get_parent` knows which one), and at `BlockNode.render`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry.trace import get_current_span

from clew import attributes as names
from clew.core import configuration, local_trace
from clew.core.light_span import LightSpan
from clew.core.spans import OpenSpan, Scope
from clew.engine import isolation
from clew.engine.seam import Patch, Seam, SpanDoc, Wrap, like
from clew.seams.django.template_facts import NAMELESS, KnownTemplates, plain

SCOPE = Scope(__name__)
KNOWN = KnownTemplates("django")
# Until the parent is known; told from other spans' names by identity.
_SOME_PARENT = "template <parent>"
_Opened = tuple[OpenSpan, Any]


def _query_count() -> int:
    local = local_trace.current()
    return 0 if local is None or local.queries is None else local.queries.count


def _note_queries(span: OpenSpan, before: int) -> None:
    ran = _query_count() - before
    if ran:
        span.note(names.DJANGO_TEMPLATE_QUERY_COUNT, ran)


def _wrap_render(
    open_span: Callable[[Any, Any], _Opened | None], close: Callable[[OpenSpan, Any, BaseException | None], None]
) -> Wrap:
    """A wrap function for the `render(self, context)` of a template or a node."""

    def wrap(original: Any) -> Any:
        def render(self: Any, context: Any) -> Any:
            __traceback_hide__ = True
            # An unsampled request pays this look and no more.
            local = local_trace.current()
            if local is not None and not local.is_recording:
                return original(self, context)
            opened = error = None
            try:
                opened = open_span(self, context)
            except Exception as ours:  # noqa: BLE001 - ours must not reach the application
                isolation.report(ours, __name__)
            if opened is None:
                return original(self, context)
            try:
                return original(self, context)
            except BaseException as raised:
                error = raised
                raise
            finally:
                try:
                    close(*opened, error)
                except Exception as ours:  # noqa: BLE001 - ours must not reach the application
                    isolation.report(ours, __name__)
                del error

        return like(original, render)

    return wrap


def _open_template(template: Any, context: Any) -> _Opened | None:
    facts = KNOWN.facts(template.name, template.origin.name)
    attributes, key = facts.roles["root" if context.template is None else "include"]
    span = SCOPE.open(facts.span_name, attributes.copy())
    return None if span is None else (span, (key, _query_count()))


def _open_partial(partial: Any, context: Any) -> _Opened | None:
    origin = partial.origin
    facts = KNOWN.facts(f"{plain(origin.template_name) or NAMELESS}#{partial.name}", origin.name)
    attributes, key = facts.roles["root" if context.template is None else "include"]
    span = SCOPE.open(facts.span_name, attributes.copy())
    return None if span is None else (span, (key, _query_count()))


def _close_template(span: OpenSpan, key: Any, error: BaseException | None) -> None:
    key, before = key
    _note_queries(span, before)
    span.close_folded(span.above, key, error)


def _open_extends(node: Any, context: Any) -> _Opened | None:
    # Open before the parent is looked for: loading and compiling it is a part of extending it.
    span = SCOPE.open(_SOME_PARENT, {names.DJANGO_TEMPLATE_ENGINE: "django", names.DJANGO_TEMPLATE_ROLE: "extends"})
    return None if span is None else (span, None)


def _close_extends(span: OpenSpan, key: Any, error: BaseException | None) -> None:
    span.close(error)


def _wrap_get_parent(original: Any) -> Any:
    def get_parent(self: Any, context: Any) -> Any:
        __traceback_hide__ = True
        parent = original(self, context)
        try:
            span: Any = get_current_span()
            if getattr(span, "name", None) is _SOME_PARENT:
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


def _open_block(node: Any, context: Any) -> _Opened | None:
    # The definition that counts is the last one in the stack; an error leaves the stack without it.
    overrides = context.render_context.get("block_context")
    stack = overrides.blocks.get(node.name) if overrides is not None else None
    span = SCOPE.open(f"block {node.name}")
    return None if span is None else (span, stack[-1] if stack else node)


def _close_block(span: OpenSpan, block: Any, error: BaseException | None) -> None:
    settings = configuration.settings
    is_short = span.elapsed_ns < settings.block_threshold_ms * 1e6
    # What a discarded block had looked up is not worth its microseconds: attributes only now.
    if is_short and span.is_trivial and error is None and settings.detail != "all":
        span.discard()
        return
    origin = getattr(block, "origin", None)
    attributes, key = KNOWN.facts(getattr(origin, "template_name", None), getattr(origin, "name", None)).roles["block"]
    for name, value in attributes.items():
        span.note(name, value)
    if block.token is not None:
        span.note(names.CODE_LINE_NUMBER, block.token.lineno)
    span.close_folded(span.above, (key, block.name), error)


_TEMPLATE = (
    names.DJANGO_TEMPLATE_NAME,
    names.DJANGO_TEMPLATE_ENGINE,
    names.DJANGO_TEMPLATE_ROLE,
    names.CODE_FILE_PATH,
    names.DJANGO_TEMPLATE_QUERY_COUNT,
)

SEAM = Seam(
    "django.template",
    patches=(
        Patch("django.template.base", "Template.render", _wrap_render(_open_template, _close_template)),
        Patch(
            "django.template.base", "PartialTemplate.render", _wrap_render(_open_partial, _close_template), False, True
        ),
        Patch("django.template.loader_tags", "ExtendsNode.render", _wrap_render(_open_extends, _close_extends)),
        Patch("django.template.loader_tags", "ExtendsNode.get_parent", _wrap_get_parent),
        Patch("django.template.loader_tags", "BlockNode.render", _wrap_render(_open_block, _close_block)),
    ),
    spans=(
        SpanDoc(
            "template page.html",
            "INTERNAL",
            "a template that is rendered, included or extended; equal ones below one span that have nothing under "
            "them are one span",
            (*_TEMPLATE, names.CLEW_FOLDED_COUNT, names.CLEW_FOLDED_DURATION_MS),
        ),
        SpanDoc(
            "block content",
            "INTERNAL",
            "a block with something under it, or that takes 1 ms or more",
            (*_TEMPLATE, names.CODE_LINE_NUMBER),
        ),
    ),
)
