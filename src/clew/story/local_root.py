"""A root of clew's own, neither request nor run, that has the application's code below it: with a local trace.

What Celery does for a dead task (its error callbacks, receivers, result backend), what an entry of beat's schedule or a
canvas does before its messages are sent: queries, transactions and findings are told there as in a request.
"""

from __future__ import annotations

from clew.engine import configuration, isolation
from clew.spans.scope import OpenSpan
from clew.story import local_trace
from clew.story.local_trace import LocalTrace


class LocalRoot:
    """The local trace of such a root, current from its making until `close`.

    Args:
        root: its span.
        where: what it is about, as attributes of metrics.
    """

    __slots__ = ("_local", "_token", "root")

    def __init__(self, root: OpenSpan, where: dict[str, str]) -> None:
        self.root = root
        self._local = LocalTrace(root, configuration.settings.max_spans_per_trace)
        self._local.where = where
        self._token = local_trace.enter(self._local)

    def leave(self) -> None:
        """The application's code is over: say what was seen on the root, which somebody else ends."""
        local_trace.leave(self._token)
        try:
            self._local.finish()
        except Exception as ours:  # noqa: BLE001 - ours must not reach the application
            isolation.report(ours, "local root")

    def close(self, error: BaseException | None = None) -> None:
        """End the local trace and the root span."""
        self.leave()
        self.root.close(error)
