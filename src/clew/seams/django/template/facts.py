"""What is known of a template before it renders: its spans' name, attributes and folding keys, looked up once."""

from __future__ import annotations

import os
from typing import Any

from clew import attributes as names
from clew import span_names
from clew.source import frames
from clew.spans.folding import FoldGroup
from clew.spans.identity import StaticAttributes

ROLES = ("root", "include", "extends", "block", "import", "load")
# Name of a template made from a string: these have none, and their source must not become one.
NAMELESS = "<string>"
_MAX_KNOWN = 4096
_PARTS = ("root", "include")
_groups: dict[tuple[str, ...], FoldGroup] = {}


class Facts:
    """A template's part in its spans.

    Args:
        engine: django or jinja2.
        name: what the loader calls it.
        file: its file, or whatever stands for it.
    """

    __slots__ = ("_names", "groups", "roles")

    def __init__(self, engine: str, name: str, file: str | None) -> None:
        self._names = f"template {span_names.of_template(name)}", f"template {name}"
        common: dict[str, Any] = {names.DJANGO_TEMPLATE_NAME: name, names.DJANGO_TEMPLATE_ENGINE: engine}
        if file is not None and os.path.isabs(file):
            common[names.CODE_FILE_PATH] = file
        # For each role: the attributes, and the key equal siblings fold by.
        self.roles = {
            role: (StaticAttributes({**common, names.DJANGO_TEMPLATE_ROLE: role}), (name, file, role)) for role in ROLES
        }
        # Of a library's, as form widgets are: what its templates fold by where they are parts of a page.
        self.groups = {role: group_of(engine, name, file, role) for role in _PARTS}

    @property
    def span_name(self) -> str:
        """Name of its spans."""
        return self._names[span_names.State.are_full]


def group_of(engine: str, name: str, file: str | None, role: str) -> FoldGroup | None:
    """The templates of the same library directory; None for one of the application, or one that has no directory."""
    directory = name.partition("/")[0]
    if file is None or directory == name or not os.path.isabs(file) or frames.is_application(file):
        return None
    key = (engine, file.removesuffix(name), directory, role)
    found = _groups.get(key)
    if found is None and len(_groups) < _MAX_KNOWN:
        common = {names.DJANGO_TEMPLATE_NAME: f"{directory}/*", names.DJANGO_TEMPLATE_ENGINE: engine}
        static = StaticAttributes({**common, names.DJANGO_TEMPLATE_ROLE: role})
        found = _groups[key] = FoldGroup(f"template {directory}/*", static)
    return found


class KnownTemplates:
    """The facts of an engine's templates, by name and file: a loader without a cache makes a new object each time.

    Args:
        engine: django or jinja2.
    """

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._known: dict[tuple[str, str | None], Facts] = {}

    def facts(self, name: Any, file: Any) -> Facts:
        """What is known of the template of that name."""
        if type(name) is not str or type(file) is not str:
            name, file = plain(name) or NAMELESS, plain(file)
        found = self._known.get((name, file))
        if found is None:
            found = Facts(self._engine, name, file)
            if len(self._known) < _MAX_KNOWN:
                self._known[name, file] = found
        return found


def plain(value: Any) -> str | None:
    """The string a name or a path is; None for anything else, lazy strings too: they are not ours to evaluate."""
    kind = type(value)
    if kind is str:
        return str(value)
    if issubclass(kind, str):
        return str.__str__(value)
    return os.fspath(value) if issubclass(kind, os.PathLike) else None
