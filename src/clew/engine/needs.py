"""What clew needs of other libraries: places, private names, functions known by name, with the versions that have them.

A need is checked when its module is imported, and by `clew doctor`, which imports every module. What is missing
switches off what needs it, in one line that names it: it is never taken for an older version, since those are declared.
Paths are written as Python's qualified names, so what lives inside a function is reached through `<locals>`; it is
looked for in the function's code, and nothing is called.
"""

from __future__ import annotations

import dis
import functools
import importlib.metadata
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import wrapt

from clew.engine import isolation
from clew.engine.annotations import annotated

_MISSING = object()
_STORE_ATTR = dis.opmap["STORE_ATTR"]
# Where a distribution is not called like its package.
_DISTRIBUTIONS = {
    "rest_framework": "djangorestframework",
    "ninja": "django-ninja",
    "graphql": "graphql-core",
    "opentelemetry.sdk": "opentelemetry-sdk",
    "opentelemetry.instrumentation.django": "opentelemetry-instrumentation-django",
    "opentelemetry.instrumentation.celery": "opentelemetry-instrumentation-celery",
    "opentelemetry.instrumentation.redis": "opentelemetry-instrumentation-redis",
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
        is_inside: `function.word` is a variable, an attribute or a string in the function's code.
    """

    module: str
    path: str
    since: str = ""
    until: str = ""
    is_attribute_of_instances: bool = False
    is_inside: bool = False

    def __str__(self) -> str:
        return f"{self.module}.{self.path}" if self.path else self.module

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition(".")[2]

    @property
    def applies(self) -> bool:
        """Whether the installed version of the library should have this name."""
        if not (self.since or self.until):
            return True
        version = _numbers(version_of(self.module))
        return _numbers(self.since) <= version and (not self.until or version < _numbers(self.until))

    def is_met_by(self, module: ModuleType) -> bool:
        """Whether the imported module has this name."""
        return not self.missing_part(module)

    def missing_part(self, module: ModuleType) -> str:
        """The part of its path that is not there, `Class` of a `Class.attribute`; "" if all of it is."""
        owner: Any = module
        *parents, name = self.path.split(".")
        for number, parent in enumerate(parents, 1):
            if parent == "<locals>" and _is_anothers(owner, module):
                return ""
            owner = _within(owner, parent)
            if owner is _MISSING:
                return ".".join(parents[:number])
        if self.is_inside:
            is_there = _is_anothers(owner, module) or name in _words(code_of(owner))
        elif self.is_attribute_of_instances:
            is_there = _sets(owner, name)
        else:
            is_there = not name or _within(owner, name) is not _MISSING
        return "" if is_there else self.path

    def missing(self, part: str = "") -> str:
        """The sentence that says that it, or a part of its path, is missing."""
        name, library = f"{self.module}.{part or self.path}".rstrip("."), library_of(self.module)
        return f"{name} is not there ({library} {version_of(self.module)})".replace(" )", ")")


@dataclass(frozen=True)
class Declared:
    """What a part of clew that is no seam needs.

    Args:
        needs: the names.
        consequence: what is lost without one of them, for the line that says so: "queries are not told apart".
        switch_off: called when one of them is missing: what would be wrong without it is not done.
    """

    needs: tuple[Need, ...]
    consequence: str
    switch_off: Callable[[], None] | None = None


# By the module of clew that needs it.
DECLARED: dict[str, Declared] = {}
_waited_for: set[str] = set()


def declare(
    owner: str, *needs: Need, consequence: str, switch_off: Callable[[], None] | None = None
) -> tuple[Need, ...]:
    """Declare what a module of clew needs; seams declare theirs in `Seam.needs`. Returns the needs."""
    key, number = owner, 1
    while key in DECLARED:  # a module may lose different things with different names
        key, number = f"{owner} {number + 1}", number + 1
    DECLARED[key] = Declared(needs, consequence, switch_off)
    return needs


def watch() -> None:
    """Check what is declared: now, or when its module is imported. Called at set-up; imports nothing."""
    for name in {need.module for declared in DECLARED.values() for need in declared.needs}:
        if name in sys.modules:
            _check(sys.modules[name])
        elif name not in _waited_for:
            _waited_for.add(name)
            wrapt.register_post_import_hook(_check, name)


def _check(module: ModuleType) -> None:
    # By what is missing, so that it is one line whatever needs it.
    lines: dict[str, dict[str, list[str]]] = {}
    for owner, declared in DECLARED.items():
        try:
            for need in declared.needs:
                part = need.missing_part(module) if need.module == module.__name__ else ""
                if part and need.applies:
                    said = lines.setdefault(need.missing(part), {}).setdefault(declared.consequence, [])
                    said.append(owner.partition(" ")[0])
                    if declared.switch_off is not None:
                        declared.switch_off()
        except Exception as error:  # noqa: BLE001 - ours must not reach whoever imports the module
            isolation.report(error, f"needs of {owner}")
    for missing, consequences in lines.items():
        owners = dict.fromkeys(owner for some in consequences.values() for owner in some)
        isolation.warn(
            f"clew: {missing}; without it {', and '.join(consequences)} ({', '.join(owners)}; `clew doctor`)"
        )


def functions(module: str, *paths: str, since: str = "", until: str = "") -> tuple[Need, ...]:
    """A need for each of several names of one module."""
    return tuple(Need(module, path, since, until) for path in paths)


def attributes(module: str, kind: str, *names: str, since: str = "", until: str = "") -> tuple[Need, ...]:
    """A need for each of several attributes that a class sets on its instances."""
    return tuple(Need(module, f"{kind}.{name}", since, until, is_attribute_of_instances=True) for name in names)


def inside(module: str, function: str, *words: str, since: str = "", until: str = "") -> tuple[Need, ...]:
    """A need for each of several variables, attributes or strings that a function's code has."""
    return tuple(Need(module, f"{function}.{word}", since, until, is_inside=True) for word in words)


def library_of(module: str) -> str:
    """The distribution a module belongs to."""
    for prefix, distribution in _DISTRIBUTIONS.items():
        if module == prefix or module.startswith(f"{prefix}."):
            return distribution
    return module.partition(".")[0]


def version_of(module: str) -> str:
    """The installed version of the library a module belongs to; "" if it does not say."""
    library = library_of(module)
    said = vars(sys.modules[library]).get("__version__") if library in sys.modules else None
    return said if isinstance(said, str) else _installed(library)


@functools.lru_cache(maxsize=100)
def _installed(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()


def _within(owner: Any, name: str) -> Any:
    """What an object, or the code of a function or of a class inside one, has under a name."""
    if name == "<locals>":
        return code_of(owner) or _MISSING
    if isinstance(owner, CodeType):
        return next((code for code in _codes_in(owner) if code.co_name == name), _MISSING)
    # A class has `__init__` of `object` and `__call__` of its own class, whatever it says itself.
    if issubclass(type(owner), type) and not any(name in vars(base) for base in owner.__mro__ if base is not object):
        return _MISSING
    return getattr(owner, name, _MISSING)


def code_of(value: Any) -> CodeType | None:
    """The code of a function, method or property, below what wraps it. By exact types: a lazy object stays lazy."""
    while True:
        kind = type(value)
        if kind is CodeType:
            found: CodeType = value
            return found
        if kind in (staticmethod, classmethod, MethodType):
            value = value.__func__
        elif kind is property or kind.__name__ == "cached_property":
            value = value.fget if kind is property else vars(value).get("func")
        elif (kind is FunctionType and "__wrapped__" in vars(value)) or issubclass(kind, wrapt.ObjectProxy):
            value = value.__wrapped__
        else:
            return value.__code__ if kind is FunctionType else None


def _is_anothers(value: Any, module: ModuleType) -> bool:
    """Whether somebody's patch stands in a function's place: what is inside the function cannot be told then."""
    code = code_of(value)
    return code is not None and code.co_filename != getattr(module, "__file__", code.co_filename)


def _codes_in(code: CodeType) -> Iterator[CodeType]:
    return (each for each in code.co_consts if isinstance(each, CodeType))


def _words(code: CodeType | None) -> set[Any]:
    if code is None:
        return set()
    words = {*code.co_varnames, *code.co_cellvars, *code.co_freevars, *code.co_names}
    return words.union(each for each in code.co_consts if isinstance(each, str))


def _sets(kind: Any, name: str) -> bool:
    """Whether a class has the name, or one of its methods, or of its bases', sets it on `self`."""
    if isinstance(kind, CodeType):
        return any(_stores(code, name) for code in _codes_in(kind))
    if not isinstance(kind, type):
        return False
    if hasattr(kind, name) or name in annotated(kind):
        return True
    found = (code_of(value) for base in kind.__mro__ for value in vars(base).values())
    return any(code is not None and _stores(code, name) for code in found)


def _stores(code: CodeType, name: str) -> bool:
    if name not in code.co_names:
        return False
    wanted, more = code.co_names.index(name), 0
    # Not `dis.get_instructions`, which takes ten times as long, at every start of the site.
    for operation, argument in zip(code.co_code[::2], code.co_code[1::2], strict=True):
        if operation == _STORE_ATTR and more | argument == wanted:
            return True
        more = (more | argument) << 8 if operation == dis.EXTENDED_ARG else 0
    return False
