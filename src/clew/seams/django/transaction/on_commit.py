"""`on_commit accounts.views.<lambda>`: every on_commit hook as it runs, linked to its transaction.

We stand at `run_and_clear_commit_hooks`, which also is the moment a transaction has been committed, and put a
transparent callable in each hook's place for this run only: before it, `connection.run_on_commit` holds the very
functions that were registered. A hook that is called at once, because no transaction is open, comes by in `on_commit`.
TestCase's `captureOnCommitCallbacks` calls the functions itself: no spans there.
"""

from __future__ import annotations

import functools
import operator
import sys
from typing import Any

from opentelemetry.context import get_current
from opentelemetry.trace import SpanContext, format_span_id

from clew import attributes as names
from clew.engine.seam import Patch, SpanDoc
from clew.engine.wrapper import Around
from clew.seams.django.transaction import span as transaction_span
from clew.source.code_location import code_attributes, dotted_name, short_name, unwrapped
from clew.spans.scope import OpenSpan, Scope, parent_in
from clew.story import transactions

SCOPE = Scope("clew.seams.django.transaction")
_LINK = {names.CLEW_LINK_KIND: "transaction"}


class Hook:
    """Stands for a hook while it is run: whatever it is asked for, it answers as the hook.

    Args:
        hook: what was registered.
        alias: key in DATABASES.
        is_robust: Django swallows its errors.
        transaction: span of the transaction it belongs to.
    """

    __slots__ = ("_alias", "_hook", "_is_robust", "_transaction")

    def __init__(self, hook: Any, alias: str, transaction: SpanContext | None, *, is_robust: bool) -> None:
        self._hook = hook
        self._alias = alias
        self._is_robust = is_robust
        self._transaction = transaction

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hook, name)

    def __repr__(self) -> str:
        return repr(self._hook)

    def open(self) -> OpenSpan | None:
        """Open its span, right before it is run."""
        if parent_in(get_current()) is None:
            return None
        name, attributes = _described(self._hook)
        attributes[names.DJANGO_DB_ALIAS] = self._alias
        attributes[names.DJANGO_ON_COMMIT_ROBUST] = bool(self._is_robust)
        if self._transaction is not None:
            attributes[names.DJANGO_TRANSACTION_SPAN_ID] = format_span_id(self._transaction.span_id)
        span = SCOPE.open(f"on_commit {name}", attributes)
        if span is not None and self._transaction is not None:
            span.span.add_link(self._transaction, _LINK)
        return span

    # Called in C, so that no frame of ours stands below a hook.
    __call__ = Around(lambda positional: positional[0].open()).quickly(operator.methodcaller("_hook"))


def _described(hook: Any) -> tuple[str, dict[str, Any]]:
    """A hook's name, without where it is nested, and its `code.*`; of a task's `delay`, the task's."""
    below = hook
    while type(below) is functools.partial:
        below = below.func
    task = getattr(below, "__self__", None)
    if task is not None and any(each.__module__ == "celery.app.task" for each in type(task).__mro__):
        return short_name(f"{task.name}.{below.__name__}", task.run), code_attributes(task.run)
    name = dotted_name(unwrapped(hook))
    module = getattr(unwrapped(hook), "__module__", None) or ""
    if "<locals>." in name:
        name = f"{module}.{name.rpartition('<locals>.')[2]}".lstrip(".")
    return short_name(name, unwrapped(hook)), code_attributes(hook)


def _committed(connection: Any) -> Any:
    """The transaction that is being left, over now; None where it is not known."""
    transaction = transactions.open_on(connection)
    if transaction is None or transaction.leaving is None:
        return None
    block = transaction.leaving
    raised = sys.exc_info()[1]
    if raised is None or raised is block.handled:
        transaction_span.end(connection, block)
    return transaction


def _before_hooks(connection: Any, /) -> None:
    if connection.in_atomic_block:
        return
    transaction = _committed(connection)
    if connection.run_on_commit and parent_in(get_current()) is not None:
        context = transaction.span_context if transaction is not None else None
        connection.run_on_commit = [
            (first, Hook(hook, connection.alias, context, is_robust=is_robust), is_robust)
            for first, hook, is_robust in connection.run_on_commit
        ]


def _traced(connection: Any, /, func: Any, robust: Any) -> Any:
    """What is registered: outside a transaction it is run at once, and traced."""
    if connection.in_atomic_block:
        transaction = transactions.open_on(connection)
        if transaction is not None:
            transaction.register(func)
    elif callable(func) and parent_in(get_current()) is not None:
        return Hook(func, connection.alias, None, is_robust=robust)
    return func


_BASE = "django.db.backends.base.base"
PATCHES = (
    Patch(_BASE, "BaseDatabaseWrapper.run_and_clear_commit_hooks", Around(_before_hooks)),
    Patch(_BASE, "BaseDatabaseWrapper.on_commit", Around(change={"func": _traced})),
)
SPAN = SpanDoc(
    "on_commit accounts.views.<lambda>",
    "INTERNAL",
    "an on_commit hook, linked to its transaction",
    (
        *(names.DJANGO_DB_ALIAS, names.DJANGO_ON_COMMIT_ROBUST, names.DJANGO_TRANSACTION_SPAN_ID),
        *names.CODE,
    ),
)
