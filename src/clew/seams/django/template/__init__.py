"""`template page.html` (root, include, extends) and `block content`: rendering by Django's own engine.

We stand at `Template.render`, which root renders, `{% include %}` and inclusion tags all go through (not `_render`: the
test environment replaces it), at its twin for `{% partialdef %}` (Django 6.0), at `ExtendsNode.render`, which renders
the parent past `Template.render` (only `get_parent` knows which one), and at `BlockNode.render`.
"""

from __future__ import annotations

from typing import Any

from opentelemetry.trace import get_current_span

from clew import attributes as names
from clew.engine import configuration, needs
from clew.engine.seam import Patch, Seam, SpanDoc
from clew.engine.wrapper import Around
from clew.seams.django.template import loading
from clew.seams.django.template.facts import NAMELESS, Facts, KnownTemplates, plain
from clew.spans.folded_run import FoldedRun, RunCursor, begin, enlist
from clew.spans.folding import close_folded
from clew.spans.light_span import LightSpan
from clew.spans.scope import OpenSpan, Scope
from clew.story import local_trace
from clew.story.local_trace import LocalTrace

SCOPE = Scope(__name__)
KNOWN = KnownTemplates("django")
# Until the parent is known; told from other spans' names by identity.
_SOME_PARENT = "template <parent>"


class _Rendering:
    """The span that is open around a template.

    Args:
        span: open.
        key: what equal ones fold by.
    """

    __slots__ = ("before", "key", "span")

    def __init__(self, span: OpenSpan, key: Any) -> None:
        self.span, self.key, self.before = span, key, _query_count()

    def close(self, error: BaseException | None) -> None:
        """It is rendered."""
        span = self.span
        _say_queries(self, span)
        close_folded(span, span.above, self.key, error)


def _say_queries(rendered: _Rendering | FoldedRun, span: OpenSpan) -> None:
    """Say how many queries there were since it began."""
    if ran := _query_count() - rendered.before:
        span.note(names.DJANGO_TEMPLATE_QUERY_COUNT, ran)


def _open_template(template: Any, /, context: Any, state: LocalTrace | None) -> _Rendering | FoldedRun | None:
    try:
        role = "root" if context.template is None else "include"
    except AttributeError:
        role = "root"
    run = begin(template, role)
    if run is not None:
        run.before = 0 if state is None or state.queries is None else state.queries.count
        return run
    # Of whatever is called a template: a class of the application's need not call Django's `__init__`.
    file = getattr(getattr(template, "origin", None), "name", None)
    return _rendering(template, role, KNOWN.facts(getattr(template, "name", None), file))


def _open_partial(partial: Any, /, context: Any) -> _Rendering | FoldedRun | None:
    origin, role = partial.origin, "root" if getattr(context, "template", None) is None else "include"
    name = f"{plain(origin.template_name) or NAMELESS}#{partial.name}"
    return _rendering(partial, role, KNOWN.facts(name, origin.name))


def _rendering(template: Any, role: str, facts: Facts) -> _Rendering | FoldedRun | None:
    attributes, own_key = facts.roles[role]
    group = facts.groups[role]
    key: Any = group if group is not None and _is_part() else own_key
    run = enlist(template, role, key, attributes, facts.span_name)
    if run is not None:
        run.before, run.say = _query_count(), _say_queries
        return run
    span = SCOPE.open(facts.span_name, static=attributes)
    if span is None:
        return None
    loading.tell(template, span.note)
    return _Rendering(span, key)


def _is_part() -> bool:
    """Whether it is rendered in another template, and not a page."""
    above: Any = get_current_span()
    return type(above) is RunCursor or (type(above) is LightSpan and above.instrumentation_scope.name == SCOPE.name)


def _query_count() -> int:
    local = local_trace.current()
    return 0 if local is None or local.queries is None else local.queries.count


def _open_extends() -> OpenSpan | None:
    # Open before the parent is looked for: loading and compiling it is a part of extending it.
    return SCOPE.open(_SOME_PARENT, {names.DJANGO_TEMPLATE_ENGINE: "django", names.DJANGO_TEMPLATE_ROLE: "extends"})


def _note_parent(result: Any) -> None:
    span: Any = get_current_span()
    if getattr(span, "name", None) is not _SOME_PARENT:
        return
    facts = KNOWN.facts(getattr(result, "name", None), getattr(getattr(result, "origin", None), "name", None))
    span.update_name(facts.span_name)
    note = span.note if isinstance(span, LightSpan) else span.set_attribute
    for key, value in facts.roles["extends"][0].mapping.items():
        note(key, value)
    loading.tell(result, note)


def _open_block(node: Any, /, context: Any) -> tuple[OpenSpan, Any] | None:
    # The definition that counts is the last one in the stack; an error leaves the stack without it.
    overrides = context.render_context.get("block_context")
    stack = overrides.blocks.get(node.name) if overrides is not None else None
    span = SCOPE.open(f"block {node.name}")
    return None if span is None else (span, stack[-1] if stack else node)


def _close_block(opened: tuple[OpenSpan, Any], error: BaseException | None) -> None:
    span, block = opened
    settings = configuration.settings
    is_short = span.elapsed_ns < settings.block_threshold_ms * 1e6
    # What a discarded block had looked up is not worth its microseconds: attributes only now.
    if is_short and span.is_trivial and error is None and settings.detail != "all":
        span.discard()
        return
    origin = getattr(block, "origin", None)
    attributes, key = KNOWN.facts(getattr(origin, "template_name", None), getattr(origin, "name", None)).roles["block"]
    for name, value in attributes.mapping.items():
        span.note(name, value)
    if block.token is not None:
        span.note(names.CODE_LINE_NUMBER, block.token.lineno)
    close_folded(span, span.above, (key, block.name), error)


def _around(open: Any, close: Any = None) -> Around:
    return Around(open, close=close, state=local_trace.current)


_BASE, _TAGS = "django.template.base", "django.template.loader_tags"
_TEMPLATE = (
    *(names.DJANGO_TEMPLATE_NAME, names.DJANGO_TEMPLATE_ENGINE, names.DJANGO_TEMPLATE_ROLE, names.CODE_FILE_PATH),
    names.DJANGO_TEMPLATE_QUERY_COUNT,
)

SEAM = Seam(
    "django.template",
    patches=(
        Patch(_BASE, "Template.render", _around(_open_template)),
        Patch(_BASE, "PartialTemplate.render", _around(_open_partial), since="6.0"),
        Patch("django.template.loaders.base", "Loader.get_template", loading.patch(SCOPE, KNOWN)),
        Patch(_TAGS, "ExtendsNode.render", _around(_open_extends)),
        Patch(_TAGS, "ExtendsNode.get_parent", Around(note=_note_parent)),
        Patch(_TAGS, "BlockNode.render", _around(_open_block, _close_block)),
    ),
    needs=(
        *needs.attributes(_BASE, "Template", "name", "origin"),
        *needs.attributes(_BASE, "Origin", "name", "template_name"),
        *needs.attributes(_BASE, "PartialTemplate", "name", "origin", since="6.0"),
        *needs.attributes(_BASE, "Node", "token"),
        *needs.attributes(_TAGS, "BlockNode", "name"),
        *needs.attributes(_TAGS, "BlockContext", "blocks"),
        *needs.attributes("django.template.context", "Context", "template", "render_context"),
    ),
    spans=(
        SpanDoc(
            "template page.html",
            "INTERNAL",
            "a template that is rendered, included or extended; equal ones below one span that have nothing under "
            "them are one span, and so are those of one library in a page (`template django/*`)",
            (*_TEMPLATE, names.DJANGO_TEMPLATE_LOAD_MS),
        ),
        SpanDoc(
            "load template page.html",
            "INTERNAL",
            "a template is found, read and compiled, where that takes 5 ms or more: mostly once in a process",
            _TEMPLATE[:-1],
        ),
        SpanDoc(
            "block content",
            "INTERNAL",
            "a block with something under it, or that takes 1 ms or more",
            (*_TEMPLATE, names.CODE_LINE_NUMBER),
        ),
    ),
    on_uninstall=loading.reset,
)
