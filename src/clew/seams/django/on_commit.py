"""`on_commit accounts.views.<lambda>`: every on_commit hook as it runs, linked to its transaction.

We stand at `run_and_clear_commit_hooks`, which also is the moment a transaction has been committed, and put a
transparent callable in each hook's place for this run only: before it, `connection.run_on_commit` holds the very
functions that were registered. A hook that is called at once, because no transaction is open, comes by in `on_commit`.
TestCase's `captureOnCommitCallbacks` calls the functions itself: no spans there.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

from opentelemetry.trace import SpanContext, format_span_id, get_current_span

from clew import attributes as names
from clew.core import transactions
from clew.core.around import close
from clew.core.code_location import code_attributes, dotted_name, unwrapped
from clew.core.spans import Scope
from clew.engine import isolation
from clew.engine.seam import Patch, SpanDoc, like
from clew.seams.django import transaction_span

SCOPE = Scope(__name__)
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

    def __init__(self, hook: Any, alias: str, is_robust: bool, transaction: SpanContext | None) -> None:
        self._hook = hook
        self._alias = alias
        self._is_robust = is_robust
        self._transaction = transaction

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hook, name)

    def __repr__(self) -> str:
        return repr(self._hook)

    def __call__(self) -> Any:
        """Run the hook."""
        __traceback_hide__ = True
        span = error = None
        try:
            span = self._open()
        except Exception as ours:  # noqa: BLE001 - ours must not reach the application
            isolation.report(ours, __name__)
        if span is None:
            return self._hook()
        try:
            return self._hook()
        except BaseException as raised:
            error = raised
            raise
        finally:
            close(span, None, None, error, __name__)
            del error

    def _open(self) -> Any:
        if not get_current_span().is_recording():
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


def _described(hook: Any) -> tuple[str, dict[str, Any]]:
    """A hook's name, without where it is nested, and its `code.*`; of a task's `delay`, the task's."""
    below = hook
    while type(below) is functools.partial:
        below = below.func
    task = getattr(below, "__self__", None)
    if task is not None and any(each.__module__ == "celery.app.task" for each in type(task).__mro__):
        return f"{task.name}.{below.__name__}", code_attributes(task.run)
    name = dotted_name(unwrapped(hook))
    module = getattr(unwrapped(hook), "__module__", None) or ""
    if "<locals>." in name:
        name = f"{module}.{name.rpartition('<locals>.')[2]}".lstrip(".")
    return name, code_attributes(hook)


def _committed(connection: Any) -> Any:
    """The transaction that is being left, over now; None where it is not known."""
    transaction = transactions.of(connection)
    if transaction is None or transaction.leaving is None:
        return None
    block = transaction.leaving
    raised = sys.exc_info()[1]
    if raised is None or raised is block.handled:
        transaction_span.end(connection, block)
    return transaction


def _wrap_run(original: Any) -> Any:
    def run_and_clear_commit_hooks(self: Any) -> Any:
        __traceback_hide__ = True
        try:
            if not self.in_atomic_block:
                transaction = _committed(self)
                if self.run_on_commit and get_current_span().is_recording():
                    context = transaction.span_context if transaction is not None else None
                    self.run_on_commit = [
                        (first, Hook(hook, self.alias, is_robust, context), is_robust)
                        for first, hook, is_robust in self.run_on_commit
                    ]
        except Exception as ours:  # noqa: BLE001 - ours must not reach the application
            isolation.report(ours, __name__)
        return original(self)

    return like(original, run_and_clear_commit_hooks)


def _wrap_on_commit(original: Any) -> Any:
    def on_commit(self: Any, func: Any, robust: Any = False) -> Any:
        __traceback_hide__ = True
        try:
            if self.in_atomic_block:
                transaction = transactions.of(self)
                if transaction is not None:
                    transaction.register(func)
            elif callable(func) and get_current_span().is_recording():
                func = Hook(func, self.alias, robust, None)
        except Exception as ours:  # noqa: BLE001 - ours must not reach the application
            isolation.report(ours, __name__)
        return original(self, func, robust)

    return like(original, on_commit)


_BASE = "django.db.backends.base.base"
PATCHES = (
    Patch(_BASE, "BaseDatabaseWrapper.run_and_clear_commit_hooks", _wrap_run),
    Patch(_BASE, "BaseDatabaseWrapper.on_commit", _wrap_on_commit),
)
SPAN = SpanDoc(
    "on_commit accounts.views.<lambda>",
    "INTERNAL",
    "an on_commit hook, linked to its transaction",
    (
        names.DJANGO_DB_ALIAS,
        names.DJANGO_ON_COMMIT_ROBUST,
        names.DJANGO_TRANSACTION_SPAN_ID,
        names.CODE_FUNCTION_NAME,
        names.CODE_FILE_PATH,
        names.CODE_LINE_NUMBER,
        names.ERROR_TYPE,
    ),
)
