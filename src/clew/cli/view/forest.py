"""Puts spans under their parents, whatever arrived.

Traces seen in a terminal are seldom whole: a worker's spans come before the web process's, an exporter sends
a batch twice, a collector lost a parent. The forest always holds every span once: what has no parent here is
a root that says why.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from clew.cli.view.span_record import SpanRecord

ExceptionKey = tuple[str, str]
# Bounds the work in a trace where every span failed differently.
_MOST_EXCEPTIONS = 32


@dataclass(slots=True, eq=False)
class Node:
    """A span and the spans under it.

    Args:
        record: the span.
        orphan: "missing" if the parent is not here, "circle" if parents form one, else "".
        children: by start time.
        size: spans in this subtree, this one included.
        notable: whether an error or a finding is in this subtree.
        below: (type, message) of the exceptions recorded under this span (not on it).
    """

    record: SpanRecord
    orphan: str = ""
    children: list[Node] = field(default_factory=list)
    size: int = 1
    notable: bool = False
    below: set[ExceptionKey] = field(default_factory=set)

    def walk(self) -> Iterator[Node]:
        """Every node of the subtree, parents first."""
        # No recursion: a chain of ten thousand spans is legal.
        pending = [self]
        while pending:
            node = pending.pop()
            yield node
            pending.extend(reversed(node.children))


def exceptions(record: SpanRecord) -> list[ExceptionKey]:
    """(type, message) of each exception recorded on a span."""
    return [
        (str(attributes.get("exception.type", "")), str(attributes.get("exception.message", "")))
        for name, _, attributes in record.events
        if name == "exception"
    ]


def build_forest(records: Iterable[SpanRecord]) -> list[Node]:
    """Arrange the spans of one trace.

    Args:
        records: spans in any order; one that was sent twice is taken once.

    Returns:
        The roots by start time.
    """
    nodes = [Node(record) for record in _without_repeats(records)]
    nodes.sort(key=lambda node: node.record.start_ns)
    by_id: dict[str, Node] = {}
    for node in nodes:
        by_id.setdefault(node.record.span_id, node)
    roots = _attach(nodes, by_id)
    _break_circles(nodes, by_id, roots)
    for root in roots:
        _summarise(root)
    return roots


def _without_repeats(records: Iterable[SpanRecord]) -> Collection[SpanRecord]:
    # Equal ids alone do not make a repeat: two different spans may carry one id, and both are shown.
    return {(r.trace_id, r.span_id, r.name, r.kind, r.start_ns): r for r in records}.values()


def _attach(nodes: list[Node], by_id: dict[str, Node]) -> list[Node]:
    roots = []
    for node in nodes:
        parent_id = node.record.parent_span_id
        parent = by_id.get(parent_id)
        if not parent_id or parent is None:
            node.orphan = "missing" if parent_id else ""
            roots.append(node)
        elif parent is node:
            node.orphan = "circle"
            roots.append(node)
        else:
            parent.children.append(node)
    return roots


def _break_circles(nodes: list[Node], by_id: dict[str, Node], roots: list[Node]) -> None:
    reached = {id(node) for root in roots for node in root.walk()}
    for node in nodes:
        if id(node) in reached:
            continue
        top = _on_circle(node, by_id)
        by_id[top.record.parent_span_id].children.remove(top)
        top.orphan = "circle"
        roots.append(top)
        reached.update(id(member) for member in top.walk())


def _on_circle(node: Node, by_id: dict[str, Node]) -> Node:
    # What no root reaches hangs on a circle; going up from it comes round to one of the circle's own.
    climbed: set[int] = set()
    while id(node) not in climbed:
        climbed.add(id(node))
        node = by_id[node.record.parent_span_id]
    return node


def _summarise(root: Node) -> None:
    # Parents come first in a walk, so backwards every child is finished before its parent.
    for node in reversed(list(root.walk())):
        record = node.record
        node.notable |= record.status == "ERROR" or any(event[0].startswith("clew.finding.") for event in record.events)
        for child in node.children:
            node.size += child.size
            node.notable |= child.notable
            if len(node.below) < _MOST_EXCEPTIONS:
                node.below.update(child.below, exceptions(child.record))
