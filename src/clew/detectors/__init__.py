"""The detectors: one file is one problem; it decides from what seams and processors see. The tuple is the only list."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterable

from clew.engine import isolation
from clew.story.detector import Detector

DETECTORS = (
    "n_plus_one",
    "repeated_query",
    "write_in_loop",
    "query_budget",
    "unbounded_fetch",
    "slow_query",
    "stale_replica_read",
    "io_in_transaction",
    "rolled_back_but_succeeded",
    "publish_in_transaction",
    "late_binding_on_commit",
    "duplicate_publish",
    "publish_in_loop",
    "no_consumer",
    "silent_failure",
    "redelivery_risk",
    "memory_growth",
    "call_in_loop",
    "repeated_call",
    "thread_wait",
    "blocking_on_loop",
    "cache_get_in_loop",
    "hot_cache_key",
    "oversized_cache_value",
    "cache_stampede",
    "permission_queries",
    "session_saved_on_every_request",
)


@functools.lru_cache(maxsize=1)
def detectors() -> tuple[Detector, ...]:
    """Every detector, in the order of the list."""
    found: list[Detector] = []
    for name in DETECTORS:
        try:
            found.append(importlib.import_module(f"clew.detectors.{name}").DETECTOR)
        except Exception as error:  # noqa: BLE001 - one broken detector must not keep the others from watching
            isolation.report(error, f"detectors.{name}")
    return tuple(found)


def unknown_detectors(names: Iterable[str]) -> list[str]:
    """A line for each name in the setting `ignored_findings` that is no detector's."""
    return [
        f"clew: ignored_findings: there is no detector {name!r}; there are {', '.join(DETECTORS)}"
        for name in sorted(set(names).difference(DETECTORS))
    ]
