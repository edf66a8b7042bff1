"""`template page.html` with engine jinja2: render, stream, include, extends and import, sync and async.

We stand at the entry points (`Template.render`, `generate`, `make_module` and their async twins), and in the place of
each template's `root_render_func`, which compiled includes and extends call: a data descriptor on the class, so that
templates that were loaded before are seen too, and taking it off leaves every template as it was.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from clew import attributes as names
from clew.engine.seam import Patch, Seam, SpanDoc, Wrap, like
from clew.seams.django.jinja2_rendering import begin, current, enter, steps, steps_async

_ROOT = "root_render_func"


def _entry(role: str) -> Wrap:
    """A wrap function for a method that renders the template it is called on."""

    def wrap(original: Any) -> Any:
        if inspect.isasyncgenfunction(original):
            return like(original, _entry_async_generator(original, role))
        if inspect.iscoroutinefunction(original):
            return like(original, _entry_async(original, role))
        if inspect.isgeneratorfunction(original):
            return like(original, _entry_generator(original, role))
        return like(original, _entry_sync(original, role))

    return wrap


# `self` is positional only: a template may have a variable of that name.


def _entry_sync(original: Any, role: str) -> Callable[..., Any]:
    def entry(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        __traceback_hide__ = True
        rendering = enter(self, role)
        if rendering is None:
            return original(self, *args, **kwargs)
        error = None
        try:
            return original(self, *args, **kwargs)
        except BaseException as raised:
            error = raised
            raise
        finally:
            rendering.close(error)
            del error

    return entry


def _entry_async(original: Any, role: str) -> Callable[..., Any]:
    async def entry(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        __traceback_hide__ = True
        rendering = enter(self, role)
        if rendering is None:
            return await original(self, *args, **kwargs)
        error = None
        try:
            return await original(self, *args, **kwargs)
        except BaseException as raised:
            error = raised
            raise
        finally:
            rendering.close(error)
            del error

    return entry


def _entry_generator(original: Any, role: str) -> Callable[..., Any]:
    def entry(self: Any, /, *args: Any, **kwargs: Any) -> Iterator[Any]:
        __traceback_hide__ = True
        yield from steps(functools.partial(enter, self, role, True), original(self, *args, **kwargs))

    return entry


def _entry_async_generator(original: Any, role: str) -> Callable[..., Any]:
    async def entry(self: Any, /, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        __traceback_hide__ = True
        items = steps_async(functools.partial(enter, self, role, True), original(self, *args, **kwargs))
        try:
            async for item in items:
                yield item
        finally:
            # Here, in the consumer's task, and not by the garbage collector in another context.
            await items.aclose()

    return entry


class _RootFunction:
    """Stands where a template's own `root_render_func` is looked up; the template keeps its own."""

    def __get__(self, template: Any, owner: type | None = None) -> Any:
        try:
            original = vars(template)[_ROOT]
        except (KeyError, TypeError):
            raise AttributeError(_ROOT) from None
        # Outside a traced rendering whoever looks gets the function itself.
        return original if current() is None else functools.partial(_root, template, original)

    def __set__(self, template: Any, function: Any) -> None:
        vars(template)[_ROOT] = function

    def __delete__(self, template: Any) -> None:
        if vars(template).pop(_ROOT, None) is None:
            raise AttributeError(_ROOT)


def _root(template: Any, original: Any, context: Any) -> Any:
    above = current()
    if above is None or above.reaches(template, context):
        return original(context)
    # A parent goes on with its child's context; an include has one of its own.
    role = "extends" if context is above.context else "include"
    follow = steps_async if template.environment.is_async else steps
    return follow(functools.partial(begin, template, role, context, above.is_lazy), original(context))


def _wrap_render(original: Any) -> Any:
    """The class has nothing at `root_render_func` that could be replaced: ours is put there with its `render`."""
    template_class = sys.modules["jinja2.environment"].Template
    setattr(template_class, _ROOT, _RootFunction())
    SEAM.undo_with(functools.partial(delattr, template_class, _ROOT))
    return _entry("root")(original)


SEAM = Seam(
    "django.jinja2",
    patches=(
        Patch("jinja2.environment", "Template.render", _wrap_render),
        Patch("jinja2.environment", "Template.render_async", _entry("root")),
        Patch("jinja2.environment", "Template.generate", _entry("root")),
        Patch("jinja2.environment", "Template.generate_async", _entry("root")),
        Patch("jinja2.environment", "Template.make_module", _entry("import")),
        Patch("jinja2.environment", "Template.make_module_async", _entry("import")),
        Patch("jinja2.nativetypes", "NativeTemplate.render", _entry("root")),
        Patch("jinja2.nativetypes", "NativeTemplate.render_async", _entry("root")),
    ),
    spans=(
        SpanDoc(
            "template page.html",
            "INTERNAL",
            "a Jinja2 template that is rendered, included, extended or imported; equal ones below one span that have "
            "nothing under them are one span",
            (
                names.DJANGO_TEMPLATE_NAME,
                names.DJANGO_TEMPLATE_ENGINE,
                names.DJANGO_TEMPLATE_ROLE,
                names.CODE_FILE_PATH,
                names.CLEW_FOLDED_COUNT,
                names.CLEW_FOLDED_DURATION_MS,
            ),
        ),
    ),
)
