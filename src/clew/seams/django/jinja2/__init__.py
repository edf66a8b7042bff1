"""`template page.html` with engine jinja2: render, stream, include, extends and import, sync and async.

We stand at the entry points (`Template.render`, `generate`, `make_module` and their async twins), and in the place of
each template's `root_render_func`, which compiled includes and extends call: a data descriptor on the class, so that
templates that were loaded before are seen too, and taking it off leaves every template as it was.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

from clew import attributes as names
from clew.engine import needs
from clew.engine.seam import Patch, Seam, SpanDoc
from clew.engine.wrapper import Around
from clew.seams.django.jinja2.rendering import KNOWN, SCOPE, Rendering, begin, current, enter
from clew.seams.django.template import loading

_ROOT = "root_render_func"
_ENVIRONMENT = "jinja2.environment"


class _RootFunction:
    """Stands where a template's own `root_render_func` is looked up; the template keeps its own."""

    def __get__(self, template: Any, owner: type | None = None) -> Any:
        try:
            original = vars(template)[_ROOT]
        except (KeyError, TypeError):
            raise AttributeError(_ROOT) from None
        # Outside a traced rendering whoever looks gets the function itself.
        if current() is None:
            return original
        return _BELOW.quickly(original, is_generic=True, template=template)

    def __set__(self, template: Any, function: Any) -> None:
        vars(template)[_ROOT] = function

    def __delete__(self, template: Any) -> None:
        if vars(template).pop(_ROOT, None) is None:
            raise AttributeError(_ROOT)


def _open_below(template: Any, positional: tuple[Any, ...]) -> Rendering | None:
    above, context = current(), positional[0] if positional else None
    if above is None or above.reaches(template, context):
        return None
    # A parent goes on with its child's context; an include has one of its own.
    role = "extends" if context is above.context else "include"
    return begin(template, role, context, is_lazy=above.is_lazy)


def _open(template: Any, /) -> Rendering | None:
    return enter(template, "root")


def _open_lazy(template: Any, /) -> Rendering | None:
    return enter(template, "root", is_lazy=True)


def _open_module(template: Any, /) -> Rendering | None:
    return enter(template, "import")


# `close` is the rendering's.
_BELOW, _WHOLE, _LAZY, _MODULE = Around(_open_below), Around(_open), Around(_open_lazy), Around(_open_module)


def _wrap_render(original: Any) -> Any:
    """The class has nothing at `root_render_func` that could be replaced: ours is put there with its `render`."""
    template_class = sys.modules[_ENVIRONMENT].Template
    setattr(template_class, _ROOT, _RootFunction())
    SEAM.undo_with(functools.partial(delattr, template_class, _ROOT))
    return _WHOLE(original)


SEAM = Seam(
    "django.jinja2",
    patches=(
        Patch(_ENVIRONMENT, "Template.render", _wrap_render),
        Patch(_ENVIRONMENT, "Template.render_async", _WHOLE),
        Patch(_ENVIRONMENT, "Template.generate", _LAZY),
        Patch(_ENVIRONMENT, "Template.generate_async", _LAZY),
        Patch(_ENVIRONMENT, "Template.make_module", _MODULE),
        Patch(_ENVIRONMENT, "Template.make_module_async", _MODULE),
        Patch("jinja2.loaders", "BaseLoader.load", loading.patch(SCOPE, KNOWN)),
        Patch("jinja2.nativetypes", "NativeTemplate.render", _WHOLE),
        Patch("jinja2.nativetypes", "NativeTemplate.render_async", _WHOLE),
    ),
    needs=needs.inside(_ENVIRONMENT, "Template._from_namespace", _ROOT, "name", "filename"),
    spans=(
        SpanDoc(
            "template page.html",
            "INTERNAL",
            "a Jinja2 template that is rendered, included, extended or imported; equal ones below one span that have "
            "nothing under them are one span",
            (
                *(names.DJANGO_TEMPLATE_NAME, names.DJANGO_TEMPLATE_ENGINE, names.DJANGO_TEMPLATE_ROLE),
                *(names.CODE_FILE_PATH, names.DJANGO_TEMPLATE_LOAD_MS),
            ),
        ),
        SpanDoc(
            "load template page.html",
            "INTERNAL",
            "a Jinja2 template is found, read and compiled, where that takes 5 ms or more: mostly once in a process",
            (
                *(names.DJANGO_TEMPLATE_NAME, names.DJANGO_TEMPLATE_ENGINE, names.DJANGO_TEMPLATE_ROLE),
                names.CODE_FILE_PATH,
            ),
        ),
    ),
)
