"""The process that `clew doctor` asks whether all that clew needs of other libraries is there (see `needs`).

Every module that something is needed of is imported, every need is looked for, and each seam is installed for once. It
has settings of its own, with those of Django's apps that clew looks at, so the project's need not be there.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
import os
import pkgutil
import sys
from collections.abc import Iterable
from typing import Any

from clew.cli.doctor.needs import Found
from clew.cli.reason import reason
from clew.engine import isolation, needs
from clew.engine.needs import Need
from clew.engine.seam import Seam
from clew.seams import SEAMS, is_installed

_ROOMS = ("engine", "source", "sql", "spans", "story", "processors", "export", "detectors", "seams", "cli")
_TRANSPORTS = "kombu.transport."
_LEFT_OUT = ("clew.cli.demo", "clew.cli.doctor.needs_process")
_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sites", "django.contrib.sessions"]


def main() -> None:
    """Look, and say what was found; arguments are modules that must not be imported again."""
    said = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # an import may print
    logging.getLogger("clew").setLevel(logging.CRITICAL + 1)

    def say(**line: Any) -> None:
        print(json.dumps(line), file=said, flush=True)

    look = Look(say, sys.argv[1:])
    if look.at_opentelemetry():
        look.at_ours()
        look.at_needs()
        look.at_seams()
    say(found=vars(look.found))
    said.flush()
    os._exit(0)  # what was imported may have started threads


class Look:
    """What is looked at, and found.

    Args:
        say: tells what is being done.
        ends: modules whose import ends the process.
    """

    def __init__(self, say: Any, ends: Iterable[str]) -> None:
        self._say = say
        self._ends = frozenset(ends)
        self.found = Found()
        self._lost: dict[Need, str] = {}

    def at_opentelemetry(self) -> bool:
        """Whether it can be imported: it reads some of its variables then, and raises."""
        error = self._import("opentelemetry.propagate") or self._import("opentelemetry.sdk.trace")
        if isinstance(error, ValueError):
            self._trouble(f"nothing that uses OpenTelemetry can be imported: {reason(error)}", "")
            self.found.seams += SEAMS
            return False
        return True

    def at_ours(self) -> None:
        """Import clew's own modules: they declare what they need."""
        for module in ["clew.bootstrap", "clew.autoload", *_modules()]:
            error = self._import(module)
            if error is None:
                continue
            self.found.seams += [name for name in SEAMS if module == f"clew.seams.{name}"]
            if not self._is_absent(error):
                self._trouble(f"{module} cannot be imported: {reason(error)}", "clew")
        if is_installed("django"):
            from django.conf import settings

            settings.configure(INSTALLED_APPS=_APPS, USE_TZ=True)
            error = _error_of(lambda: importlib.import_module("django").setup())
            if error is not None:
                self._trouble(f"Django cannot be set up: {reason(error)}", "django")

    def at_needs(self) -> None:
        """Look for every private name that a seam needs."""
        lost: dict[str, tuple[str, list[str]]] = {}
        needed: set[Need] = set()
        is_usable: dict[str, str | None] = {}
        for need, owner in _all_needs():
            if not self._is_here(need.module) or not need.applies:
                continue
            if need.module not in is_usable:
                is_usable[need.module] = self._state(need.module)
            state = is_usable[need.module]
            if state is None:
                continue
            needed.add(need)
            text = state or _missing(need)
            if text:
                self._lost[need] = text
                lost.setdefault(text, (need.module, []))[1].append(owner)
        self.found.needed, self.found.there = len(needed), len(needed) - len(self._lost)
        for text, (module, owners) in lost.items():
            self._trouble(f"{text}; {', and '.join(dict.fromkeys(owners))}", needs.library_of(module))

    def at_seams(self) -> None:
        """Install every seam once, and see whether that works."""
        isolation.is_strict = False
        for seam in _seams():
            if not self._is_for_what_is_here(seam) or any(need in self._lost for need in seam.all_needs):
                self.found.seams.append(seam.name)
                continue
            error = _error_of(seam.install)
            trouble = reason(error) if error is not None else seam.trouble
            if trouble:
                self.found.seams.append(seam.name)
                self._trouble(f"{trouble}; {_without(seam)}", "clew")

    def _is_for_what_is_here(self, seam: Seam) -> bool:
        library = seam.name.partition(".")[0]
        if library in ("django", "celery") and not self._is_here(library):
            return False
        # By where it stands: what it needs besides may be of another library.
        modules = [each.module for each in seam.patches or seam.all_needs]
        here = [self._is_here(module) for module in modules]
        return any(here) or not here

    def _state(self, module: str) -> str | None:
        """What is wrong with a module, "" for nothing; None: it is for a library that is not installed."""
        error = self._import(module)
        if error is None:
            return ""
        library = needs.library_of(module)
        if self._is_absent(error) or self._is_of_absent_transport(module):
            return None
        return f"{module} cannot be imported ({library} {needs.version_of(module)}: {reason(error)})"

    def _import(self, module: str) -> BaseException | None:
        if module in self._ends:
            return RuntimeError("that ends the process")
        self._say(doing=module)
        return _error_of(lambda: importlib.import_module(module))

    def _is_here(self, module: str) -> bool:
        top = module.partition(".")[0]
        if is_installed(top):
            return True
        self._note_absent(top)
        return False

    def _is_absent(self, error: BaseException | None) -> bool:
        """Whether an import failed because some library is not installed."""
        while error is not None:
            missing = getattr(error, "name", None) or ""
            top, library = missing.partition(".")[0], needs.library_of(missing)
            # Of one package may be what comes with several libraries.
            is_of_another = library != top and not needs.version_of(missing)
            if isinstance(error, ModuleNotFoundError) and top and (is_of_another or not is_installed(top)):
                self._note_absent(library if is_of_another else top)
                return True
            error = error.__cause__ or error.__context__
        return False

    def _is_of_absent_transport(self, module: str) -> bool:
        """Without its client's library, kombu's module of Redis ends in an AttributeError of None."""
        return module.startswith(_TRANSPORTS) and not self._is_here(module.removeprefix(_TRANSPORTS))

    def _note_absent(self, top: str) -> None:
        if top not in self.found.absent:
            self.found.absent.append(top)

    def _trouble(self, text: str, library: str) -> None:
        self.found.troubles.append((text, library))


def _modules() -> list[str]:
    found = []
    for room in _ROOMS:
        package = importlib.import_module(f"clew.{room}")
        found += [
            each.name for each in pkgutil.walk_packages(package.__path__, f"clew.{room}.", onerror=lambda _: None)
        ]
    return [name for name in found if not name.startswith(_LEFT_OUT)]


def _seams() -> list[Seam]:
    """Every seam there is, in whichever module; the ones of the list first."""
    found: dict[int, Seam] = {}
    for name, module in sorted(sys.modules.items()):
        if name.startswith("clew."):
            found.update({id(each): each for each in vars(module).values() if isinstance(each, Seam)})
    return list(found.values())


def _all_needs() -> Iterable[tuple[Need, str]]:
    for seam in _seams():
        for need in seam.all_needs:
            yield need, _without(seam)
    for owner, declared in needs.DECLARED.items():
        for need in declared.needs:
            yield need, f"without it {declared.consequence} ({owner.partition(' ')[0]})"


def _without(seam: Seam) -> str:
    return f"seam {seam.name} does not stand, so nothing of it is traced"


def _missing(need: Need) -> str:
    part = need.missing_part(sys.modules[need.module])
    return need.missing(part) if part else ""


def _error_of(call: Any) -> BaseException | None:
    try:
        call()
    except BaseException as error:  # noqa: BLE001 - an import may raise anything, SystemExit included
        return error
    return None
