"""`late_binding_on_commit`: on_commit hooks of a loop that all run with the last item.

    for item in items:
        transaction.on_commit(lambda: send.delay(item.id))

The lambda looks `item` up when it runs, after the loop. We stand right before the hooks of a transaction are run (in
Django's TestCase, where they are not, at its end): hooks with the same code and the same variables, global names or
attributes (`self.item`), which held other objects when they were registered. Arguments that are bound (a default
`item=item`, `functools.partial`), names that never changed (`self`, `request`) or hold an equal text or number, and
those that the hook changes itself (a counter that all hooks share) are not found.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from types import MethodType
from typing import Any

from clew.source.call_site import CallSite
from clew.source.late_names import LateName, late_names
from clew.source.source_tree import statement_from
from clew.story.detector import Detector
from clew.story.findings import Finding
from clew.story.transactions import Transaction, hook_below

_MAX_HOOKS = 1000


def _on_commit_hooks(_connection: Any, hooks: Sequence[Any], transaction: Transaction | None) -> None:
    if transaction is None or transaction.local is None or not transaction.registered:
        return
    groups: dict[tuple[int, ...], list[Any]] = {}
    for entry in hooks[:_MAX_HOOKS]:
        hook = hook_below(entry[1])
        if hook is not None:
            function = hook.__func__ if type(hook) is MethodType else hook
            shared = [id(cell) for cell in function.__closure__ or ()]
            key = (id(function.__code__), id(getattr(hook, "__self__", None)), *shared)
            groups.setdefault(key, []).append(hook)
    for group in groups.values():
        if len(group) > 1:
            rebound = _rebound(group, transaction)
            if rebound:
                _report(group, rebound, transaction)


def _rebound(group: list[Any], transaction: Transaction) -> list[LateName]:
    """What held different objects when these hooks were registered; of `item` and `item.id` the first."""
    hooks = {id(hook): hook for hook in group}
    seen = [held for key in hooks for held in transaction.registered.get(key, ())]
    names = late_names(getattr(group[0], "__func__", group[0]))
    found = [name for name, held in zip(names, zip(*seen, strict=False), strict=False) if len(set(held)) > 1]
    return [each for each in found if not each.attribute or LateName(each.name) not in found]


def _report(group: list[Any], rebound: list[LateName], transaction: Transaction) -> None:
    assert transaction.local is not None
    hook: Any = getattr(group[0], "__func__", group[0])
    code, names = hook.__code__, ", ".join(map(str, rebound))
    finding = Finding(
        "late_binding_on_commit",
        f"{len(group)} on_commit hooks from this line share the variable{'s' if len(rebound) > 1 else ''} "
        f"{names}: all of them run with the last value",
        f"bind {'them' if len(rebound) > 1 else 'it'} when the hook is registered: {_bound(group[0], rebound)}",
        CallSite(code.co_filename, code.co_firstlineno, f"{hook.__module__}.{hook.__qualname__}"),
        {"count": len(group), "variables": names},
    )
    key = ("late_binding_on_commit", code.co_filename, code.co_firstlineno)
    transaction.local.report(finding, key, transaction.span and transaction.span.span)


def _bound(hook: Any, rebound: list[LateName]) -> str:
    """How it is written with its variables bound: the very line, where that is a lambda that can be read."""
    code, name = hook.__code__, hook.__name__
    if name != "<lambda>":
        names = ", ".join([each.attribute or each.name for each in rebound])
        given = ", ".join(map(str, rebound))
        owner = code.co_varnames[0] if type(hook) is MethodType else ""
        taken, called = (f"{owner}, {names}", f"{owner}.{name}") if owner else (names, name)
        return f"def {name}({taken}): ..., and functools.partial({called}, {given})"
    given = ", ".join([f"{each.attribute or each.name}={each}" for each in rebound])
    statement = statement_from(code.co_filename, code.co_firstlineno)
    found = [each for each in ast.walk(statement) if isinstance(each, ast.Lambda)] if statement is not None else []
    if statement is None or len(found) != 1:
        return f"lambda {given}: ..."
    for each in rebound:
        found[0].args.args.append(ast.arg(each.attribute or each.name))
        found[0].args.defaults.append(ast.parse(str(each), mode="eval").body)
    found[0].body = _Renamed({str(each): each.attribute for each in rebound if each.attribute}).visit(found[0].body)
    return ast.unparse(ast.fix_missing_locations(statement))


class _Renamed(ast.NodeTransformer):
    """Reads `item` where it was `self.item`."""

    def __init__(self, names: dict[str, str]) -> None:
        self._names = names

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        short = self._names.get(ast.unparse(node))
        return ast.Name(short, ast.Load()) if short is not None else self.generic_visit(node)


DETECTOR = Detector(
    "late_binding_on_commit",
    doc="on_commit hooks that were registered in a loop all run with the loop's last item.",
    fix="Bind the item at registration: `functools.partial(send.delay, item.id)` or `lambda item=item: ...`.",
    not_found="Bound arguments, variables that did not change or that the hooks change themselves.",
    on_commit_hooks=_on_commit_hooks,
)
