"""One question for a permission, and what it cost."""

from __future__ import annotations

from collections.abc import Hashable
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from clew.story import findings

if TYPE_CHECKING:
    from types import FrameType

    from clew.source.call_site import CallSite
    from clew.story.findings import Finding
    from clew.story.local_trace import LocalTrace


class PermissionCheck:
    """One question for a permission.

    Args:
        local: the request or task.
        permission: what is asked for: `shop.change_order`, or an app's label.
        frame: where in the stack it is asked; None once it is over.
        is_of_object: it is asked for an object.
    """

    __slots__ = (
        *("_before", "duration_ns", "findings", "frame", "is_of_object", "local", "permission", "query_count"),
        *("site", "span"),
    )

    def __init__(self, local: LocalTrace, permission: str, frame: FrameType | None, *, is_of_object: bool) -> None:
        self.local = local
        self.permission = permission
        self.is_of_object = is_of_object
        self.frame = frame
        self.site: CallSite | None = None
        self.span: Any = None
        self.query_count = 0
        self._before = self._queries()
        self.duration_ns = -perf_counter_ns()
        self.findings: list[Finding] = []

    def _queries(self) -> int:
        return self.local.queries.count if self.local.queries is not None else 0

    def is_over(self) -> None:
        """End the check, and take its cost."""
        self.duration_ns += perf_counter_ns()
        self.query_count = self._queries() - self._before

    def report(self, finding: Finding, key: Hashable) -> None:
        """Take a finding of the request or task that is about this question, and said on its span."""
        if self.local.report(finding, key):
            self.findings.append(finding)

    def attach_findings(self) -> None:
        """Put the findings on its span."""
        for finding in self.findings:
            findings.attach(self.span.span, finding)
