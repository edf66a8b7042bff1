"""`late_binding_on_commit`: on_commit hooks of a loop that all run with the last item.

    for item in items:
        transaction.on_commit(lambda: send.delay(item.id))

The lambda looks `item` up when it runs, after the loop. We stand right before the hooks of a transaction are run (in
Django's TestCase, where they are not, at its end): hooks with the same code and the same variables, where a variable
held different objects when they were registered. Only ids were kept of these. Arguments that are bound (a default
`item=item`, `functools.partial`), variables that never changed (`self`, `request`) and one function without variables
are not found; a counter that all hooks share on purpose is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clew.source.call_site import CallSite
from clew.story import findings
from clew.story.detector import Detector
from clew.story.findings import Finding
from clew.story.transactions import Transaction, plain_function

_MAX_HOOKS = 1000


def _on_commit_hooks(_connection: Any, hooks: Sequence[Any], transaction: Transaction | None) -> None:
    if transaction is None or transaction.local is None or not transaction.registered:
        return
    groups: dict[tuple[int, ...], list[Any]] = {}
    for entry in hooks[:_MAX_HOOKS]:
        function = plain_function(entry[1])
        if function is not None:
            cells = [id(cell) for cell in function.__closure__]
            groups.setdefault((id(function.__code__), *cells), []).append(function)
    for group in groups.values():
        if len(group) > 1:
            rebound = _rebound(group, transaction)
            if rebound:
                _report(group, rebound, transaction)


def _rebound(group: list[Any], transaction: Transaction) -> list[str]:
    """Names of the variables that held different objects when these hooks were registered."""
    functions = {id(function): function for function in group}
    seen = [held for key in functions for held in transaction.registered.get(key, ())]
    variables = group[0].__code__.co_freevars
    return [name for name, held in zip(variables, zip(*seen, strict=False), strict=False) if len(set(held)) > 1]


def _report(group: list[Any], rebound: list[str], transaction: Transaction) -> None:
    assert transaction.local is not None
    code = group[0].__code__
    name = rebound[0]
    module = group[0].__module__
    function = f"{module}.{group[0].__qualname__}" if module else group[0].__qualname__
    finding = Finding(
        "late_binding_on_commit",
        f"{len(group)} on_commit hooks from this line share the variable{'s' if len(rebound) > 1 else ''} "
        f"{', '.join(rebound)}: all of them run with the last value",
        f"bind it when the hook is registered: functools.partial(function, {name}), or lambda {name}={name}: ...",
        CallSite(code.co_filename, code.co_firstlineno, function),
        {"count": len(group), "variables": ", ".join(rebound)},
    )
    key = ("late_binding_on_commit", code.co_filename, code.co_firstlineno)
    findings.report(transaction.local, finding, key, transaction.span and transaction.span.span)


DETECTOR = Detector(
    "late_binding_on_commit",
    doc="on_commit hooks that were registered in a loop all run with the loop's last item.",
    fix="Bind the item at registration: `functools.partial(send.delay, item.id)` or `lambda item=item: ...`.",
    not_found="Bound arguments, variables that did not change, functions without variables.",
    on_commit_hooks=_on_commit_hooks,
)
