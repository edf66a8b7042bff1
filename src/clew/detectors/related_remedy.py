"""How to mend a relation's queryset that is asked for again and again, when it is another than `.all()`.

A plain prefetch_related would be one more query there, and none less: what was filtered, ordered, counted or cut has to
be prefetched so, or annotated.
"""

from __future__ import annotations

import re
from typing import Any

from clew.detectors.relation import Load
from clew.detectors.snippets import filtered, free_name, has_filtering_manager, manager_of

_ONE = frozenset(("get", "first", "last", "latest", "earliest", "__getitem__"))
# A prefetched queryset takes them from its rows.
_ANSWERED = ("", "__iter__", "__getitem__", "contains", "__contains__")
_ORDERING = frozenset(("latest", "earliest"))
_FUNCTION = re.compile(r'\b(MAX|MIN|SUM|AVG|COUNT)\((?:DISTINCT )?(?:["`\w]+\.)?["`](\w+)["`]\)', re.IGNORECASE)


def is_all(load: Load) -> bool:
    """Whether it is all of the relation, or what a prefetch answers as well."""
    return not load.facts.changes and not _own(load) and load.method in _ANSWERED


def _own(load: Load) -> tuple[Any, ...]:
    own = load.facts.where[load.facts.own :]
    # The last is what it looks for.
    return own[:-1] if load.method == "contains" else own


def call(load: Load) -> str:
    """What was called on the relation: `.filter().first()`."""
    names = [".filter()"] if _own(load) and load.method != "get" else []
    names += [_called(each) for each in load.facts.changes if load.method not in _ORDERING or ".order_by" not in each]
    if load.method == "__getitem__":
        names.append("[...]")
    elif load.method and not load.method.startswith("__"):
        names.append(f".{load.method}()")
    return "".join(names) or ".all()"


def _called(change: str) -> str:
    return re.sub(r"\(.*\)", "()", change) if change[0] == "." else change


def fix(load: Load) -> str:
    """The fix, as code."""
    facts = load.facts
    if load.method in ("count", "aggregate", "exists") and not facts.changes and _names(load)[0]:
        return _annotated(load)
    if load.method == "iterator" and not facts.changes and not _own(load):
        return f'{_added(load, f""".prefetch_related("{load.field}")""")}, and .all() instead of .iterator()'
    kinds = [each.partition("(")[0] for each in facts.changes]
    if not _own(load) and load.method not in _ONE and kinds and set(kinds) <= {".values", ".values_list"}:
        return (
            f'{_added(load, f""".prefetch_related("{load.field}")""")}, and take the values of each object in'
            f" .{load.field}.all() in Python: {kinds[0]}() asks the database again"
        )
    return _with_prefetch(load)


def _added(load: Load, what: str) -> str:
    return f"add {what} to the queryset that loads the {load.model} objects"


def _names(load: Load) -> tuple[str, str]:
    """The relation's name in lookups from its owner (`comment` of `comment_set`) and from its target; "" for none."""
    for each in load.facts.owner._meta.get_fields():
        accessor = getattr(each, "get_accessor_name", None)
        if load.field != (accessor() if accessor is not None else each.name):
            continue
        # A generic relation's target knows only ids and types.
        back = each.field.name if accessor is not None else each.remote_field.name if each.many_to_many else ""
        return _visible(each.name), _visible(back)
    return "", ""


def _visible(name: str | None) -> str:
    return "" if not name or name.endswith("+") else name


def _annotated(load: Load) -> str:
    (name, back), facts, own = _names(load), load.facts, _own(load)
    if load.method == "exists" and back:
        where = f", {filtered(own)}" if own else ""
        again = free_name(facts.owner, f"has_{load.field}")
        what = f'.annotate({again}=Exists({manager_of(facts.model)}.filter({back}=OuterRef("pk"){where})))'
        return f"{_added(load, what)}, and read {again}"
    # Of a default manager's conditions an annotation knows nothing.
    by_manager = facts.where[: max(facts.own - 1, 0)] if has_filtering_manager(facts.model._default_manager) else ()
    where = filtered((*by_manager, *own), f"{name}__")
    condition = f", filter=Q({where})" if where else ""
    function, column = aggregates(load)[0] if load.method == "aggregate" else ("Count", "")
    again = free_name(facts.owner, f"{load.field}_{function.lower()}")
    what = f'{name}__{column}"{condition}' if column else f'{name}"{condition}, distinct=True'
    more = " > 0" if load.method == "exists" else ""
    return f'{_added(load, f""".annotate({again}={function}("{what}))""")}, and read {again}{more}'


def aggregates(load: Load) -> list[tuple[str, str]]:
    """What is computed, and of which field, as far as the query's text says."""
    by_column = {each.column: each.name for each in load.facts.model._meta.concrete_fields}
    found = [(name.capitalize(), by_column.get(column, "...")) for name, column in _FUNCTION.findall(load.text)]
    return found or [("Sum", "...")]


def _with_prefetch(load: Load) -> str:
    """A Prefetch of just what was asked for."""
    facts, own = load.facts, _own(load)
    queryset = manager_of(facts.model) + (f".filter({filtered(own)})" if own else "")
    values = [each for each in facts.changes if each.startswith(".values")]
    queryset += "".join(_kept(each, load) for each in facts.changes if each not in values)
    cut = _cut(load)
    if queryset == manager_of(facts.model) and not cut.startswith("."):
        queryset += ".all()"
    queryset += cut
    name = free_name(facts.owner, f"loaded_{load.field}")
    in_vain = ""
    if facts.is_prefetched:
        doing = "filter" if own else "order" if ".order_by" in "".join(facts.changes) else "do it"
        in_vain = f'"{load.field}" is prefetched, but this asks again: {doing} in Python, or '
    then = f"{name}[0] or nothing" if load.method in _ONE else name
    taken = " and take the values in Python" if values else ""
    what = f'.prefetch_related(Prefetch("{load.field}", queryset={queryset}, to_attr="{name}"))'
    return f"{in_vain}{_added(load, what)}, and read {then}{taken}"


def _kept(change: str, load: Load) -> str:
    """A change as it can be made in a Prefetch: without its key to the object, a row would be loaded for each."""
    if not change.startswith(".only("):
        return change
    keys = [f'"{each.field.name}"' for each in load.facts.where[: load.facts.own] if each.field.is_relation]
    names = change[len(".only(") : -1].split(", ")
    return f".only({', '.join(dict.fromkeys([*names, *[key for key in keys if _is_of(load, key)]]))})"


def _is_of(load: Load, key: str) -> bool:
    return any(f'"{each.name}"' == key for each in load.facts.model._meta.concrete_fields)


def _cut(load: Load) -> str:
    if load.method not in _ONE - {"get"}:
        return ""
    order = ""
    if load.facts.is_by_key and load.method in ("first", "last"):
        order = '.order_by("pk")' if load.method == "first" else '.order_by("-pk")'
    return f"{order}[:1]" if load.method != "__getitem__" else "[...]"
