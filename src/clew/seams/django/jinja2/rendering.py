"""One Jinja2 template being rendered: its span, and what is current while its steps run.

Under `render` the whole template runs before its caller does, so a span that is current once is current for all of it;
under `generate` the consumer's code runs between two steps and must not see it: there it is current for each step.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import Any

from clew.seams.django.template import loading
from clew.seams.django.template.facts import KnownTemplates
from clew.spans.folding import close_folded
from clew.spans.scope import OpenSpan, Scope
from clew.story import local_trace

# The seam's, so that the scope's name leads to the seam.
SCOPE = Scope("clew.seams.django.jinja2")
KNOWN = KnownTemplates("jinja2")


class Rendering:
    """A template that is being rendered.

    Args:
        template: jinja2's object.
        span: its span, current from now on.
        key: what equal siblings fold by.
        context: jinja2's context; None until an entry point's template reaches its root function.
        is_lazy: the consumer's code runs between two steps.
    """

    __slots__ = ("_key", "_span", "_token", "context", "is_lazy", "template")

    def __init__(self, template: Any, span: OpenSpan, key: Any, context: Any, *, is_lazy: bool) -> None:
        self.template = template
        self.context = context
        self.is_lazy = is_lazy
        self._span = span
        self._key = key
        self._token: Token[Rendering | None] | None = _current.set(self)

    def reaches(self, template: Any, context: Any) -> bool:
        """Whether this root function is the one the entry point's span stands for already; asked once for each."""
        if self.context is not None or self.template is not template:
            return False
        self.context = context
        return True

    def enter(self) -> None:
        """Make the span current for one step."""
        self._span.enter()
        self._token = _current.set(self)

    def restore(self) -> None:
        """Make current again what was current before the step."""
        token, self._token = self._token, None
        if token is not None:
            try:
                _current.reset(token)
            except ValueError:  # a generator that is closed elsewhere
                pass
        self._span.restore()

    def close(self, error: BaseException | None) -> None:
        """End the span of the template."""
        try:
            self.restore()
        finally:
            close_folded(self._span, self._span.above, self._key, error)


_current: ContextVar[Rendering | None] = ContextVar("clew_jinja2_rendering", default=None)

current = _current.get


def enter(template: Any, role: str, *, is_lazy: bool = False) -> Rendering | None:
    """Begin at an entry point; None where one entry point of the template has called another (async environments)."""
    above = _current.get()
    if above is not None and above.template is template and above.context is None:
        return None
    return begin(template, role, None, is_lazy=is_lazy)


def begin(template: Any, role: str, context: Any, *, is_lazy: bool) -> Rendering | None:
    """Open the span of a template and make it current; None where nothing is recorded."""
    local = local_trace.current()
    if local is not None and not local.is_recording:
        return None
    facts = KNOWN.facts(template.name, template.filename)
    attributes, key = facts.roles[role]
    span = SCOPE.open(facts.span_name, static=attributes)
    if span is None:
        return None
    loading.tell(template, span.note)
    return Rendering(template, span, key, context, is_lazy=is_lazy)
