"""How to mend a model that is queried again and again, by no relation of an object's, or by one object's."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from clew.detectors.conditions import Condition
from clew.detectors.related_remedy import aggregates
from clew.detectors.relation import Load
from clew.detectors.snippets import filtered, free_name, manager_of

_ONE = frozenset(("get", "first", "last", "latest", "earliest"))


def call(load: Load) -> str:
    """What was called: `.order_by().first()` without the first dot."""
    if load.method == "__getitem__":
        return "[...]"
    names = [re.sub(r"\(.*\)", "()", each) for each in load.facts.changes if each[0] == "."]
    if load.method and not load.method.startswith("__"):
        names.append(f".{load.method}()")
    return "".join(names)[1:] or "a queryset"


def fix(load: Load) -> str:
    """The fix, as code."""
    objects, where = manager_of(load.facts.model, load.facts.manager), load.facts.where
    if load.is_of_one_object:
        objects, where = f"{load.model.lower()}.{load.field}", where[load.facts.own :]
    varying = load.varying or tuple(each for each in where if each.lookup == "in") or where
    if load.method == "__getitem__":
        return "load the rows before the loop, in one slice of the queryset or list(queryset), and take them from there"
    if not varying or not all(each.is_certain for each in varying):
        return (
            f"ask once, before the loop, for the rows of all of them ({objects}.filter(...)), and look them up in a"
            " dictionary; or annotate what is gone through with Subquery or Exists"
        )
    constant = [each for each in where if each not in varying]
    kept = f", {filtered(constant)}" if constant and all(each.is_certain for each in constant) else ""
    if len(varying) > 1 or varying[0].lookup not in ("exact", "in", "iexact"):
        return _of_several(load, objects, varying)
    by = varying[0]
    if by.lookup == "in":
        keys = "in_bulk([...])" if by.field.primary_key else f"filter({by.path}__in=[...]{kept})"
        return (
            f"collect the keys of all objects before the loop, fetch {objects}.{keys} once, and pick each object's own"
        )
    if load.method in ("count", "exists", "aggregate", "contains"):
        return _counted(load, objects, by, kept)
    if load.method in _ONE and not kept and not load.facts.changes and by.path == by.field.name and _is_unique(by):
        return _in_bulk(load, objects, by)
    return (
        f"fetch all before the loop: {objects}.filter({by.path}__in=[...]{kept}){_keys(load, [by])}{_changes(load)},"
        f" and group or look them up by {_key(load, by)} in Python"
    )


def _changes(load: Load) -> str:
    return "".join(each for each in load.facts.changes if each[0] == "." and not each.startswith(".values"))


def _is_unique(by: Condition) -> bool:
    return bool(by.field.unique)


def _key(load: Load, by: Condition) -> str:
    """The attribute of a row that it is looked up by."""
    if by.path == by.field.name:
        return str(by.field.attname)
    return free_name(load.facts.model, "_".join(by.path.split("__")[-2:]))


def _keys(load: Load, where: Iterable[Condition]) -> str:
    """What is filtered by and is no attribute of the rows, annotated."""
    foreign = {each.path: _key(load, each) for each in where if each.path != each.field.name}
    pairs = ", ".join(f'{name}=F("{path}")' for path, name in foreign.items())
    return f".annotate({pairs})" if pairs else ""


def _in_bulk(load: Load, objects: str, by: Condition) -> str:
    found = f"found = {objects}.in_bulk(" + ("[...])" if by.field.primary_key else f'[...], field_name="{by.path}")')
    return f"fetch them before the loop: {found}, and take found[key] in it"


def _counted(load: Load, objects: str, by: Condition, kept: str) -> str:
    if load.method in ("exists", "contains"):
        return (
            f"ask once, before the loop, which are there:"
            f' set({objects}.filter({by.path}__in=[...]{kept}).values_list("{by.path}", flat=True))'
        )
    asked = aggregates(load) if load.method == "aggregate" else [("Count", "pk")]
    names = ["number"] if asked == [("Count", "pk")] else [f"{column}_{kind.lower()}" for kind, column in asked]
    annotated = [
        f'{free_name(load.facts.model, name.replace("...", "value"))}={kind}("{column}")'
        for name, (kind, column) in zip(names, asked, strict=True)
    ]
    return (
        f"{'ask' if load.method == 'aggregate' else 'count'} once, before the loop:"
        f' {objects}.filter({by.path}__in=[...]{kept}).values("{by.path}").annotate({", ".join(annotated)})'
    )


def _of_several(load: Load, objects: str, varying: tuple[Condition, ...] | Any) -> str:
    names = list(dict.fromkeys([each.path for each in varying]))
    if all(each.lookup in ("exact", "in") for each in varying):
        which = ", ".join(f"{name}__in=[...]" for name in names)
        keys = ", ".join(dict.fromkeys([_key(load, each) for each in varying]))
        return (
            f"fetch all before the loop: {objects}.filter({which}){_keys(load, varying)}, and look them up by ({keys})"
            " in a dictionary"
        )
    return (
        f"fetch the rows of the whole range before the loop, {objects}.filter({filtered(varying)}), and sort them into"
        f" groups by {', '.join(names)} in Python or by an annotation"
    )
