"""Runs the cases in requests, and says what was found in each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client

from clew import attributes as names
from clew.testing import Trace, tracing
from tests.detectors.corpus.case import Case
from tests.detectors.corpus.rows import make


@dataclass(frozen=True)
class Result:
    """What was found in a case: for each N+1, what it is said to load."""

    case: Case
    found: tuple[str, ...]
    messages: tuple[str, ...]


def run(cases: Iterable[Case], threshold: int, kind: str = "n_plus_one") -> list[Result]:
    """Run each case in a request of its own, undone afterwards; cases with as many rows share them."""
    results = []
    with tracing(n_plus_one_threshold=threshold) as trace:
        for rows, group in groupby(sorted(cases, key=lambda case: case.rows), key=lambda case: case.rows):
            with transaction.atomic():
                make(rows)
                results += [_run(case, trace, kind) for case in group]
                transaction.set_rollback(True)
    return results


def _run(case: Case, trace: Trace, kind: str) -> Result:
    with transaction.atomic():
        client = _client(case)
        trace.clear()
        response = getattr(client, case.method)(case.path or f"/{case.name}/")
        assert response.status_code == 200, f"{case.name}: {response.status_code}"
        b"".join(response)
        transaction.set_rollback(True)
    events = [event for span in trace.spans for event in span.events if event.name == names.finding(kind)]
    found = [event.attributes for event in events]
    return Result(
        case,
        tuple(each.get("clew.finding.relation") or each.get("clew.finding.model", "") for each in found),
        tuple(f"{each[names.CLEW_FINDING_MESSAGE]} -> {each[names.CLEW_FINDING_FIX]}" for each in found),
    )


def _client(case: Case) -> Client:
    client = Client()
    if case.is_staff:
        client.force_login(User.objects.create_superuser(f"staff of {case.name}"[:60]))
    return client


@dataclass
class Score:
    """How many of the cases were told right."""

    hits: int = 0
    misses: tuple[str, ...] = ()
    false_alarms: tuple[str, ...] = ()
    misnamed: tuple[str, ...] = ()
    table: str = ""

    @property
    def precision(self) -> float:
        return self.hits / max(self.hits + len(self.false_alarms), 1)

    @property
    def recall(self) -> float:
        return self.hits / max(self.hits + len(self.misses), 1)


def score(results: list[Result], threshold: int) -> Score:
    """Compare what was found with what the cases say."""
    found = Score()
    kinds: dict[str, Counter[str]] = {}
    for result in results:
        case, is_bad = result.case, result.case.is_bad(threshold)
        wrong = set(result.found) - {case.relation, *case.also}
        counter = kinds.setdefault(case.kind, Counter())
        counter["bad" if is_bad else "fine"] += 1
        if is_bad and result.found:
            found.hits += 1
            counter["found"] += 1
            if case.relation not in result.found or wrong:
                found.misnamed += (f"{case.name}: {case.relation} expected, {', '.join(result.found)} found",)
        elif is_bad:
            found.misses += (case.name,)
        elif result.found:
            counter["false"] += 1
            found.false_alarms += (f"{case.name}: {'; '.join(result.messages)}",)
    lines = [f"{'':28}{'bad':>6}{'found':>7}{'fine':>6}{'false':>7}"]
    total: Counter[str] = Counter()
    for kind, counter in [*sorted(kinds.items()), ("", total)]:
        lines.append(f"{kind or 'all':28}{counter['bad']:6}{counter['found']:7}{counter['fine']:6}{counter['false']:7}")
        if kind:
            total.update(counter)
    found.table = "\n".join(lines)
    return found
