"""The only file that patches: a seam puts its wrappers in place once and takes every one of them out again.

What a seam needs of others is declared: its places, and the names it reads. One that is missing switches the whole seam
off, never a half of it, and is said in one line.

A seam names the places it stands at (`Patch`); a place in a module that is not imported yet is patched when it is, so
that setting up never imports a site's Django, Celery or Jinja2 before the site does. A wrapper that outlives its seam
(captured in a middleware chain, imported by name) finds nothing to open and passes the call through.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import FunctionType, ModuleType
from typing import Any

import wrapt

from clew.engine import isolation
from clew.engine.needs import Need
from clew.engine.reaching import reaches
from clew.engine.wrapper_source import UnknownParameterError

Wrap = Callable[[Any], Any]
_MISSING = object()


@dataclass(frozen=True)
class Patch:
    """One place to stand at.

    Args:
        module: where it lives; need not be imported yet.
        path: attribute, or `Class.attribute`.
        wrap: takes the original (the plain function, also of a static or class method), returns the replacement.
        is_imported_by_name: other modules hold it by `from ... import`; it is replaced there too.
        since, until: the versions of its library that have it (see `needs.Need`).
    """

    module: str
    path: str
    wrap: Wrap
    is_imported_by_name: bool = False
    since: str = ""
    until: str = ""

    @property
    def need(self) -> Need:
        """The place, as a need."""
        return Need(self.module, self.path, self.since, self.until)


@dataclass(frozen=True)
class SpanDoc:
    """One row of the span catalogue (docs/spans.md is made of these)."""

    name: str
    kind: str
    where: str
    attributes: tuple[str, ...] = ()


@dataclass
class Seam:
    """One place in Django or Celery where we stand.

    Args:
        name: path below `clew.seams` (`django.view`); its switch is the setting `django_view`.
        patches: the places.
        spans: what appears, for the documentation.
        on_install, on_uninstall: called after the first patching and before the undoing.
        on_ready: called once when the application is set up, or at once where it is.
        needs: what it reads of others besides its places.
    """

    name: str
    patches: tuple[Patch, ...] = ()
    spans: tuple[SpanDoc, ...] = ()
    on_install: Callable[[], None] | None = None
    on_uninstall: Callable[[], None] | None = None
    on_ready: Callable[[], None] | None = None
    needs: tuple[Need, ...] = ()
    is_installed: bool = False
    # Why it is switched off although its switch is on.
    trouble: str = ""
    _undo: list[Callable[[], None]] = field(default_factory=list)
    _is_set_up: bool = False
    _standing: list[tuple[Patch, Any]] = field(default_factory=list)
    _is_ready: bool = False
    # Whose module's import it will hear of.
    _awaited: set[Patch | Need] = field(default_factory=set)
    # Originals and wrappers that modules which import them by name are still to be given.
    _by_name: list[tuple[Any, Any]] = field(default_factory=list)

    @property
    def all_needs(self) -> tuple[Need, ...]:
        """Every name the seam needs in the installed versions: what it patches and what it reads."""
        places = (patch.need for patch in self.patches)
        return tuple(need for need in (*places, *self.needs) if need.applies)

    def install(self) -> None:
        """Stand at every place. A second call does nothing; where something is missing, the seam stands nowhere."""
        if self.is_installed:
            return
        self.is_installed, self.trouble = True, ""
        # What is there already is looked at before anything is patched.
        for need in self.all_needs:
            if need.module in sys.modules:
                self._check(need, sys.modules[need.module])
            else:
                self._await(need)
        for patch in self.patches:
            if not patch.need.applies or not self.is_installed:
                continue
            if patch.module in sys.modules:
                self._apply(patch, sys.modules[patch.module])
            else:
                self._await(patch)
        self._rebind_by_name()
        if self.is_installed:
            self._is_set_up = True
            self._guarded(self.on_install)

    def uninstall(self) -> None:
        """Put the identical originals back, newest first."""
        if not self.is_installed:
            return
        if self._is_set_up:
            self._guarded(self.on_uninstall)
        self.is_installed = self._is_set_up = self._is_ready = False
        self._standing.clear()
        while self._undo:
            self._guarded(self._undo.pop())

    def application_is_ready(self) -> None:
        """The application is set up: do what waited for that, and stand again where somebody stands in our place."""
        if self.is_installed and not self._is_ready:
            self._is_ready = True
            self._guarded(self.on_ready)
        self.stand_again()

    def stand_again(self) -> None:
        """Wrap a place anew that somebody has replaced since by something that does not come to our wrapper."""
        for index, (patch, wrapper) in enumerate(self._standing):
            try:
                owner, attribute = _resolve(sys.modules[patch.module], patch.path)
                raw = inspect.getattr_static(owner, attribute)
                if raw is not wrapper and not reaches(raw, wrapper, owner):
                    self._standing[index] = (patch, self._stand(patch, owner, attribute))
            except (AttributeError, KeyError) as error:  # gone, or of another signature
                isolation.warn(f"clew: {patch.need} has been replaced and is not traced any more: {error}")
            except Exception as error:  # noqa: BLE001 - what somebody has put there may be anything
                isolation.report(error, f"seam {self.name}")
        self._rebind_by_name()

    def patch_attribute(self, owner: Any, attribute: str, wrap: Wrap) -> None:
        """Patch a place that only shows itself at run time (a backend's class); undone with the seam."""
        if self.is_installed:
            self._undo.append(replace(owner, attribute, wrap))

    def stand_at(self, patch: Patch) -> None:
        """Stand at one more place, which the site's settings name, now or when its module is imported."""
        if self.is_installed and patch.module in sys.modules:
            self._apply(patch, sys.modules[patch.module])
        elif self.is_installed:
            self._await(patch)

    def undo_with(self, undo: Callable[[], None]) -> None:
        """Register an undo for something that was changed at run time."""
        self._undo.append(undo)

    def _check(self, need: Need, module: ModuleType) -> None:
        if self.is_installed and not need.is_met_by(module):
            self._switch_off(need.missing())

    def _switch_off(self, reason: str) -> None:
        self.trouble = reason
        isolation.warn(f"clew: seam {self.name} is switched off: {reason}; everything else is traced (`clew doctor`)")
        self.uninstall()

    def _await(self, what: Patch | Need) -> None:
        """Hear of its module's import; once, however often the seam is installed before that."""
        if what not in self._awaited:
            self._awaited.add(what)
            wrapt.register_post_import_hook(functools.partial(self._imported, what), what.module)

    def _imported(self, what: Patch | Need, module: ModuleType) -> None:
        self._awaited.discard(what)
        if self.is_installed and isinstance(what, Patch):
            self._apply(what, module)
            self._rebind_by_name()
        elif self.is_installed and isinstance(what, Need):
            self._check(what, module)

    def _apply(self, patch: Patch, module: ModuleType) -> None:
        try:
            owner, attribute = _resolve(module, patch.path)
            self._standing.append((patch, self._stand(patch, owner, attribute)))
        except AttributeError as error:
            self._switch_off(f"{error}" if isinstance(error, UnknownParameterError) else patch.need.missing())
        except Exception as error:  # noqa: BLE001 - one broken seam must not keep the others from standing
            isolation.report(error, f"seam {self.name}")
            self._switch_off(f"{patch.need} could not be wrapped")

    def _stand(self, patch: Patch, owner: Any, attribute: str) -> Any:
        original = getattr(owner, attribute)
        self._undo.append(replace(owner, attribute, patch.wrap))
        if patch.is_imported_by_name:
            self._by_name.append((original, getattr(owner, attribute)))
        return inspect.getattr_static(owner, attribute)

    def _rebind_by_name(self) -> None:
        """Replace what other modules have imported by name: one walk through them for all patches."""
        pairs, self._by_name = self._by_name, []
        if pairs:
            originals = tuple([id(old) for old, _ in pairs])
            self._undo.append(functools.partial(_rebind, [(new, old) for old, new in pairs], originals))
            _rebind(pairs, originals)

    def _guarded(self, call: Callable[[], None] | None) -> None:
        if call is None:
            return
        try:
            call()
        except Exception as error:  # noqa: BLE001 - one broken seam must not keep the others from standing
            isolation.report(error, f"seam {self.name}")


def replace(owner: Any, attribute: str, wrap: Wrap) -> Callable[[], None]:
    """Replace an attribute of a module, class or object by `wrap(original)`; returns what undoes exactly that.

    Raises:
        AttributeError: it is not there.
    """
    own = vars(owner).get(attribute, _MISSING)
    raw = own if own is not _MISSING else _inherited(owner, attribute)
    wrapper = _wrapped(_unbound(raw, owner), wrap)
    setattr(owner, attribute, wrapper)

    def undo() -> None:
        if vars(owner).get(attribute) is not wrapper:
            return  # someone has wrapped ours since; it passes calls through by itself
        if own is _MISSING:
            delattr(owner, attribute)
        else:
            setattr(owner, attribute, own)

    return undo


def _inherited(owner: Any, attribute: str) -> Any:
    value = getattr(owner, attribute)
    if not isinstance(owner, type):
        return value
    raw = inspect.getattr_static(owner, attribute)
    return raw if isinstance(raw, (staticmethod, classmethod)) else value


def _unbound(raw: Any, owner: Any) -> Any:
    """What a class gives for a method that somebody has wrapped with wrapt: called so, it finds its instance."""
    is_proxy = isinstance(owner, type) and type(raw) is not FunctionType and isinstance(raw, FunctionType)
    return raw.__get__(None, owner) if is_proxy else raw


def _wrapped(raw: Any, wrap: Wrap) -> Any:
    if isinstance(raw, (staticmethod, classmethod)):
        return type(raw)(wrap(raw.__func__))
    return wrap(raw)


def _resolve(module: ModuleType, path: str) -> tuple[Any, str]:
    *parents, attribute = path.split(".")
    owner: Any = module
    for name in parents:
        owner = getattr(owner, name)
    return owner, attribute


# Modules that hold none of these originals nor their wrappers, by name, with their identity and size when looked at: a
# test suite sets up again and again.
_without: dict[tuple[int, ...], dict[str, tuple[int, int]]] = {}
_MAX_WITHOUT = 20


def _rebind(pairs: list[tuple[Any, Any]], originals: tuple[int, ...]) -> None:
    wanted = {id(old): new for old, new in pairs}
    if len(_without) >= _MAX_WITHOUT:
        _without.clear()
    without = _without.setdefault(originals, {})
    for module_name, module in _modules():
        held = vars(module)
        state = id(module), len(held)
        if without.get(module_name) == state:
            continue
        if wanted.keys().isdisjoint(map(id, held.values())):
            without[module_name] = state
            continue
        without.pop(module_name, None)
        for name, value in list(held.items()):  # any name: `from ... import login as auth_login`
            if id(value) in wanted:
                setattr(module, name, wanted[id(value)])


def _modules() -> Iterable[tuple[str, ModuleType]]:
    return [(name, module) for name, module in list(sys.modules.items()) if isinstance(module, ModuleType)]
