"""What to say of a load that is repeated, and how to mend it, in the words of Django's documentation."""

from __future__ import annotations

from collections.abc import Callable

from clew.detectors import relation
from clew.detectors.relation import Load

_COUNTS = {"count": "Count", "aggregate": "Count"}
_ONE = ("get", "first", "last", "latest", "earliest", "__getitem__")


def message(load: Load, count: int, duration_ms: float) -> str:
    """One sentence: what was run how often."""
    what = {
        relation.SELECTED: f"{load.name} was loaded one by one",
        relation.GENERIC: f"{load.name} was loaded one by one",
        relation.PREFETCHED: f"{load.name} was prefetched for one object at a time",
        relation.DEFERRED: f"{load.name} is deferred and was loaded one by one",
        relation.RELATED: f"{load.name}{_call(load, '.all()')} was asked for one by one",
        relation.REFRESHED: f"{load.name}.refresh_from_db() was called one by one",
        relation.QUERIED: f"{load.name} was queried in a loop ({_call(load, '')[1:] or 'a queryset'}"
        f"{f' by {load.field}' if load.field else ''})",
        relation.RAW: f"{load.name or 'a raw query'} was queried in a loop by raw SQL",
    }[load.kind]
    return f"N+1: {what}, {count} queries, {duration_ms:g} ms"


def fix(load: Load) -> str:
    """What to do."""
    return _FIXES[load.kind](load)


def _call(load: Load, otherwise: str) -> str:
    if load.method == "__getitem__":
        return "[...]"
    return f".{load.method}()" if load.method else ".filter()" if load.is_refined else otherwise


def _select(load: Load) -> str:
    return (
        f'add .select_related("{load.field}") to the queryset that loads the {load.model} objects'
        f' (where they come through another relation: .select_related("<relation>__{load.field}"))'
    )


def _generic(load: Load) -> str:
    return f'add .prefetch_related("{load.field}") to the queryset that loads the {load.model} objects'


def _prefetched(load: Load) -> str:
    return (
        f'prefetch for all at once: .prefetch_related("{load.field}") on the queryset that loads the {load.model}'
        f' objects, or prefetch_related_objects(objects, "{load.field}") before the loop'
    )


def _deferred(load: Load) -> str:
    loading = f"in the queryset that loads the {load.model} objects"
    return f'take "{load.field}" out of .defer(), or add it to .only(), {loading}'


def _related(load: Load) -> str:
    field, model = load.field, load.model
    if load.method in ("count", "aggregate"):
        return (
            f'annotate the queryset that loads the {model} objects: .annotate(n=Count("{field}")), or Sum, Max ...;'
            f' or prefetch "{field}" and use len()'
        )
    if load.method in ("exists", "contains"):
        return f'annotate the {model} queryset with Exists(...), or .prefetch_related("{field}") and ask its .all()'
    to_attr = (
        f'.prefetch_related(Prefetch("{field}", queryset={load.target or "..."}.objects.filter(...), to_attr="..."))'
    )
    if load.is_prefetched:
        return f'"{field}" is prefetched, but .filter() and the like ask again: filter in Python, or {to_attr}'
    if load.is_refined or load.method in _ONE:
        return f"load them with the {model} objects: {to_attr}"
    return f'add .prefetch_related("{field}") to the queryset that loads the {model} objects'


def _refreshed(load: Load) -> str:
    return f"load them again in one query: {load.model}.objects.in_bulk(ids), or filter(pk__in=ids)"


def _queried(load: Load) -> str:
    model, field = load.target or "the model", load.field
    if load.method in _COUNTS or load.method in ("exists", "contains"):
        return (
            f"ask once, before the loop: .values({field!r}).annotate(n=Count('pk')), or an annotation with Subquery or"
            f" Exists on the queryset that is gone through"
        )
    if load.method in ("get", "first") and field and "," not in field:
        return (
            f"fetch them before the loop: {model}.objects.in_bulk(...), or {model}.objects.filter({field}__in=[...]),"
            f" and look them up in a dictionary"
        )
    return (
        f"fetch all before the loop ({model}.objects.filter({field.split(', ')[0] or 'pk'}__in=[...])) and group in"
        f" Python; or annotate with Subquery or Exists"
    )


def _raw(load: Load) -> str:
    return "run it once, before the loop, with `IN` or `= ANY(...)` and all keys, or as a join"


_FIXES: dict[str, Callable[[Load], str]] = {
    relation.SELECTED: _select,
    relation.GENERIC: _generic,
    relation.PREFETCHED: _prefetched,
    relation.DEFERRED: _deferred,
    relation.RELATED: _related,
    relation.REFRESHED: _refreshed,
    relation.QUERIED: _queried,
    relation.RAW: _raw,
}
