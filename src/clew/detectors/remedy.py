"""What to say of a load that is repeated, and how to mend it, in the words of Django's documentation.

What stands in a fix can be pasted: names are the models' own, `...` stands for values and for what only the application
knows. Where a fix also has to be read another way than before, it says how.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from clew.detectors import queried_remedy, related_remedy, relation
from clew.detectors.relation import Load
from clew.detectors.snippets import has_filtering_manager, manager_of

_MAX_LEVELS = 5


def message(load: Load, count: int, duration_ms: float) -> str:
    """One sentence: what was run how often."""
    of_one = f" of one {load.model}" if load.is_of_one_object else ""
    what = {
        relation.SELECTED: f"{load.name} was loaded one by one",
        relation.GENERIC: f"{load.name} was loaded one by one",
        relation.PREFETCHED: f"{load.name} was prefetched for one object at a time",
        relation.DEFERRED: f"{load.name} is deferred and was loaded one by one",
        relation.RELATED: f"{load.name}{related_remedy.call(load)}{of_one} was asked for one by one",
        relation.REFRESHED: f"{load.name}.refresh_from_db() was called one by one",
        relation.QUERIED: f"{load.name} was queried in a loop ({queried_remedy.call(load)}"
        f"{f' by {load.field}' if load.field else ''})",
        relation.RAW: f"{load.name or 'a raw query'} was queried in a loop by raw SQL",
    }[load.kind]
    return f"N+1: {what}, {count} queries, {duration_ms:g} ms"


def fix(load: Load, others: Iterable[Load] = ()) -> str:
    """What to do.

    Args:
        load: what is repeated.
        others: what else is, in the same request or task: the objects may have come that way.
    """
    if load.is_walk:
        return _tree(load)
    return _FIXES[load.kind](load, list(others))


def _tree(load: Load) -> str:
    return (
        f"load the whole tree in one query, {manager_of(load.facts.owner)}.all(), and follow {load.field} in a"
        " dictionary by key; or a recursive common table expression. Prefetching or selecting it reaches one level only"
    )


def _on_objects(load: Load, method: str, others: list[Load]) -> str:
    """The call on the queryset that loads the objects, wherever they come from."""
    if load.is_listed:
        return (
            f"the admin's page that asks whether to delete shows each object: let __str__ of {load.model} not follow"
            f" {load.field}, or override get_deleted_objects() of the admin"
        )
    if load.is_built:
        return (
            f"no query has loaded the {load.model} objects: where they are built, pass the object itself,"
            f" {load.model}({load.field}=...), and not its key alone"
        )
    path, owner, is_through_many = load.field, load.model, False
    for each in _above(load, others):
        is_through_many = is_through_many or each.kind != relation.SELECTED
        path, owner = f"{each.field}__{path}", each.model
    method = "prefetch_related" if is_through_many else method
    through = "" if path != load.field else f' (where they come through another relation: "<relation>__{path}")'
    return f'add .{method}("{path}") to the queryset that loads the {owner} objects{through}'


def _above(load: Load, others: list[Load]) -> list[Load]:
    """The loads by which the objects have come, from the nearest one; a circle is gone through once."""
    way, models = [load], {load.model}
    while len(way) <= _MAX_LEVELS:
        last = way[-1]
        above = [each for each in others if each.target == last.model and each.field and each.model != last.model]
        if len(above) != 1 or not _is_way(above[0]) or _is_way_back(above[0], last):
            break
        way.append(above[0])
        if above[0].model in models:
            break
        models.add(above[0].model)
    return way[1:]


def _is_way(above: Load) -> bool:
    if above.is_built:
        return False
    if above.kind == relation.RELATED:
        return related_remedy.is_all(above)
    return above.kind in (relation.SELECTED, relation.GENERIC)


def _is_way_back(above: Load, load: Load) -> bool:
    """`post.comments` of `comment.post`: what comes that way has its post already."""
    field = getattr(getattr(load.facts.owner, load.field, None), "field", None)
    rel = getattr(field, "remote_field", None)
    return load.kind == relation.SELECTED and rel is not None and rel.get_accessor_name() == above.field


def _select(load: Load, others: list[Load]) -> str:
    # What select_related loads, no manager has filtered.
    is_filtered = load.facts.model is not None and has_filtering_manager(load.facts.model._base_manager)
    return _on_objects(load, "prefetch_related" if is_filtered else "select_related", others)


def _generic(load: Load, others: list[Load]) -> str:
    return _on_objects(load, "prefetch_related", others)


def _prefetched(load: Load, others: list[Load]) -> str:
    return (
        f'prefetch for all at once: .prefetch_related("{load.field}") on the queryset that loads the {load.model}'
        f' objects, or prefetch_related_objects(objects, "{load.field}") before the loop'
    )


def _deferred(load: Load, others: list[Load]) -> str:
    loading = f"in the queryset that loads the {load.model} objects"
    return f'take "{load.field}" out of .defer(), or add it to .only(), {loading}'


def _related(load: Load, others: list[Load]) -> str:
    if load.is_of_one_object:
        return queried_remedy.fix(load)
    return _on_objects(load, "prefetch_related", others) if related_remedy.is_all(load) else related_remedy.fix(load)


def _refreshed(load: Load, others: list[Load]) -> str:
    return f"load them again in one query: {load.model}.objects.in_bulk(ids), or filter(pk__in=ids)"


def _queried(load: Load, others: list[Load]) -> str:
    return queried_remedy.fix(load)


def _raw(load: Load, others: list[Load]) -> str:
    return "run it once, before the loop, with `IN` or `= ANY(...)` and all keys, or as a join"


_FIXES: dict[str, Callable[[Load, list[Load]], str]] = {
    relation.SELECTED: _select,
    relation.GENERIC: _generic,
    relation.PREFETCHED: _prefetched,
    relation.DEFERRED: _deferred,
    relation.RELATED: _related,
    relation.REFRESHED: _refreshed,
    relation.QUERIED: _queried,
    relation.RAW: _raw,
}
