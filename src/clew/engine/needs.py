"""What clew needs of other libraries: places, private names, functions known by name, with the versions that have them.

A need is checked when its module is imported, and by `clew doctor`, which imports every module. What is missing
switches off what needs it, in one line that names it: it is never taken for an older version, since those are declared.
"""

from __future__ import annotations

import functools
import importlib.metadata
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import wrapt

from clew.engine import isolation

_MISSING = object()
# Where a package does not say its own version under `__version__`.
_DISTRIBUTIONS = {
    "opentelemetry.sdk": "opentelemetry-sdk",
    "opentelemetry.instrumentation.django": "opentelemetry-instrumentation-django",
    "opentelemetry.instrumentation.celery": "opentelemetry-instrumentation-celery",
    "opentelemetry.instrumentation": "opentelemetry-instrumentation",
    "opentelemetry.exporter.otlp.proto.grpc": "opentelemetry-exporter-otlp-proto-grpc",
    "opentelemetry.exporter.otlp.proto.http": "opentelemetry-exporter-otlp-proto-http",
    "opentelemetry.exporter.otlp": "opentelemetry-exporter-otlp-proto-common",
    "opentelemetry": "opentelemetry-api",
}


@dataclass(frozen=True)
class Need:
    """One name of another library.

    Args:
        module: where it lives.
        path: attribute, or `Class.attribute`; "" for the module itself.
        since: the first version of the library that has it; "" for every supported one.
        until: the first version that has it no more.
        is_attribute_of_instances: `Class.attribute` is set in `__init__`: looked for in the class's code.
    """

    module: str
    path: str
    since: str = ""
    until: str = ""
    is_attribute_of_instances: bool = False

    def __str__(self) -> str:
        return f"{self.module}.{self.path}" if self.path else self.module

    @property
    def applies(self) -> bool:
        """Whether the installed version is one that has it."""
        if not (self.since or self.until):
            return True
        version = _numbers(version_of(self.module))
        return _numbers(self.since) <= version and (not self.until or version < _numbers(self.until))

    def is_met_by(self, module: ModuleType) -> bool:
        """Whether the imported module has it."""
        owner: Any = module
        *parents, name = self.path.split(".") if self.path else [""]
        for parent in parents:
            owner = getattr(owner, parent, _MISSING)
        if self.is_attribute_of_instances:
            return isinstance(owner, type) and _sets(owner, name)
        return owner is not _MISSING and (not name or getattr(owner, name, _MISSING) is not _MISSING)

    def missing(self) -> str:
        """The sentence that says that it is missing."""
        library = library_of(self.module)
        return f"{self} is not there ({library} {version_of(self.module)})".replace(" )", ")")


@dataclass(frozen=True)
class Declared:
    """What a part of clew that is no seam needs.

    Args:
        needs: the names.
        consequence: what is not traced without them, for the line that says so.
        switch_off: called when one of them is missing.
    """

    needs: tuple[Need, ...]
    consequence: str
    switch_off: Callable[[], None] | None = None


# By the module of clew that needs it.
DECLARED: dict[str, Declared] = {}


def declare(
    owner: str, *needs: Need, consequence: str, switch_off: Callable[[], None] | None = None
) -> tuple[Need, ...]:
    """Declare what a module of clew needs; seams declare theirs in `Seam.needs`. Returns the needs."""
    DECLARED[owner] = Declared(needs, consequence, switch_off)
    return needs


def watch() -> None:
    """Check what is declared: now, or when its module is imported. Called once, at set-up."""
    for owner, declared in DECLARED.items():
        for need in declared.needs:
            check = functools.partial(_check, owner, declared, need)
            if need.module in sys.modules:
                check(sys.modules[need.module])
            else:
                wrapt.register_post_import_hook(check, need.module)


def _check(owner: str, declared: Declared, need: Need, module: ModuleType) -> None:
    if not need.applies or need.is_met_by(module):
        return
    isolation.warn(f"clew: {need.missing()}; without it {declared.consequence} ({owner}; `clew doctor`)")
    if declared.switch_off is not None:
        declared.switch_off()


def functions(module: str, *paths: str, since: str = "", until: str = "") -> tuple[Need, ...]:
    """A need for each of several names of one module."""
    return tuple(Need(module, path, since, until) for path in paths)


def attributes(module: str, kind: str, *names: str, since: str = "", until: str = "") -> tuple[Need, ...]:
    """A need for each of several attributes that a class sets on its instances."""
    return tuple(Need(module, f"{kind}.{name}", since, until, True) for name in names)


def library_of(module: str) -> str:
    """The distribution a module belongs to."""
    for prefix, distribution in _DISTRIBUTIONS.items():
        if module == prefix or module.startswith(f"{prefix}."):
            return distribution
    return module.partition(".")[0]


def version_of(module: str) -> str:
    """The installed version of the library a module belongs to; "" if it does not say."""
    library = library_of(module)
    said = getattr(sys.modules.get(library), "__version__", None)
    if isinstance(said, str):
        return said
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()


def _sets(kind: type, name: str) -> bool:
    """Whether a class has the name, or one of its methods, or of its bases', sets it on `self`."""
    if hasattr(kind, name) or name in getattr(kind, "__annotations__", ()):
        return True
    codes = [getattr(value, "__code__", None) for base in kind.__mro__ for value in vars(base).values()]
    return any(name in code.co_names for code in codes if code is not None)
