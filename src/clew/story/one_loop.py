"""Findings of one type from many places of one loop are said once, with the list of the places.

A loop over orders whose helpers touch nineteen relations is one mistake: what the loop goes through was loaded with too
little. A place belongs to the outermost loop around it that is the innermost one of a finding: a loop that only tries
again, or goes through batches, is nobody's. What is left belongs to the outermost loop that goes through objects: a
library that publishes pages goes through their fields in loops of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace

from clew.source.call_site import CallSite
from clew.story.findings import WARNING, Finding, LoopAround

# Fewer are a finding each.
MIN_PLACES = 4
_MAX_PLACES, _MAX_NAMES, _MAX_FIXES = 50, 20, 5
_LONG_MS = 50


def gathered(found: list[Finding]) -> list[Finding]:
    """The findings, those of one type and one loop together as one."""
    if len(found) < MIN_PLACES:
        return found
    heads = {(each.type, each.loops[0].at) for each in found if each.loops}
    said = _grouped(found, lambda each, loop: (each.type, loop.at) in heads)
    return _grouped(said, lambda _, loop: loop.is_of_objects)


def _grouped(found: list[Finding], is_wanted: Callable[[Finding, LoopAround], bool]) -> list[Finding]:
    """The findings, those together whose outermost loop that is wanted is the same."""
    groups: dict[Hashable, list[Finding]] = {}
    loops: dict[Hashable, CallSite] = {}
    for each in found:
        loop = next((loop.at for loop in reversed(each.loops) if is_wanted(each, loop)), None)
        key: Hashable = each if loop is None else (each.type, loop)
        groups.setdefault(key, []).append(each)
        if loop is not None:
            loops[key] = loop
    said: list[Finding] = []
    for key, members in groups.items():
        said += [_as_one(members, loops[key])] if len(members) >= MIN_PLACES and key in loops else members
    return said


def _as_one(members: list[Finding], loop: CallSite) -> Finding:
    for each in members:
        if each.refresh is not None:
            each.refresh(each)
    times, took = _total(members, "query_count") or _total(members, "count"), _total(members, "duration_ms")
    names = list(dict.fromkeys(filter(None, map(_name, members))))
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    message = (
        f"{len(members)} places of one loop, {times:g} times in all{f', {took:g} ms' if took else ''}"
        f"{': ' if names else ''}{', '.join(names[:_MAX_NAMES])}{more}"
    )
    places = tuple(map(_place, members[:_MAX_PLACES]))
    evidence = {"query_count": times, "duration_ms": took, "place_count": len(members), "places": places}
    is_warning = took >= _LONG_MS or any(each.severity == WARNING for each in members)
    said = replace(members[0], message=message, fix=_fix(members), site=loop, evidence=evidence, refresh=None, loops=())
    # What its places say, they say on their spans; this is the root's.
    said.severity, said.is_placed = WARNING if is_warning else members[0].severity, False
    return said


def _total(members: list[Finding], name: str) -> float:
    total: float = sum(each.evidence.get(name, 0) for each in members)
    return round(total, 3)


def _name(finding: Finding) -> str:
    held = finding.evidence
    return str(held.get("relation") or held.get("model") or held.get("query") or "")


def _place(finding: Finding) -> str:
    where = f"{finding.site}: " if finding.site is not None else ""
    return f"{where}{finding.message}; {finding.fix}"


def _fix(members: list[Finding]) -> str:
    fixes = list(dict.fromkeys(each.fix for each in members))
    more = f"; and {len(fixes) - _MAX_FIXES} more, one at each place" if len(fixes) > _MAX_FIXES else ""
    return "; ".join(fixes[:_MAX_FIXES]) + more
