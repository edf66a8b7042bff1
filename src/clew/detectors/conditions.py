"""What a queryset filters by, as an application writes it: `item__name`, `created__gte`; read, not evaluated.

Values are kept for comparison and never told, but for `True`, `False` and `None`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from clew.engine import needs

needs.declare(
    __name__,
    *needs.attributes("django.db.models.sql.query", "Query", "where", "alias_map"),
    *needs.attributes("django.db.models.sql.datastructures", "Join", "join_field", "parent_alias"),
    *needs.attributes("django.utils.tree", "Node", "children", "connector", "negated"),
    *needs.attributes("django.db.models.lookups", "Lookup", "lhs", "rhs"),
    *needs.attributes("django.db.models.expressions", "Col", "target", "alias"),
    *needs.attributes("django.db.models.expressions", "Func", "source_expressions"),
    *needs.attributes("django.db.models.options", "Options", "many_to_many", "related_objects"),
    *needs.attributes("django.db.models.fields.related", "ManyToManyField", "m2m_field_name", "m2m_reverse_field_name"),
    consequence="what is filtered by is not always told by the field's name",
)
_MAX_DEPTH = 5
_MAX_JOINS = 10
_PLAIN = (bool, type(None))


@dataclass(frozen=True)
class Condition:
    """One comparison.

    Args:
        field: whose column is compared.
        path: how it is reached: `item__name`.
        lookup: `exact`, `gte` ...; with a transform in it, `year__exact`.
        value: what it is compared with.
        is_certain: `filter(path__lookup=value)` would make it; not below OR or NOT.
    """

    field: Any
    path: str
    lookup: str
    value: Any
    is_certain: bool = True

    def text(self, prefix: str = "") -> str:
        """The condition as an argument of filter(), without its value."""
        name = f"{prefix}{self.path}" + ("" if self.lookup == "exact" else f"__{self.lookup}")
        return f"{name}={self.value if type(self.value) in _PLAIN else '...'}"


def read(query: Any) -> Iterator[Condition]:
    """The conditions of a `Query`, in the order they were made."""
    yield from _read(getattr(query, "where", None), query, 0, is_certain=True)


def _read(node: Any, query: Any, depth: int, *, is_certain: bool) -> Iterator[Condition]:
    held = getattr(node, "__dict__", {})
    children = held.get("children", ()) if depth < _MAX_DEPTH else ()
    is_certain = is_certain and not held.get("negated") and (held.get("connector") == "AND" or len(children) < 2)
    for child in children:
        inside = getattr(child, "__dict__", {})
        if "children" in inside:
            yield from _read(child, query, depth + 1, is_certain=is_certain)
            continue
        column, lookup = inside.get("lhs"), str(getattr(type(child), "lookup_name", "exact"))
        # A transform (`created__year`) has its column one further in.
        while column is not None and "target" not in getattr(column, "__dict__", {}):
            inner = getattr(column, "__dict__", {}).get("source_expressions")
            transform = getattr(type(column), "lookup_name", None)
            lookup = f"{transform}__{lookup}" if type(transform) is str else lookup
            is_certain = is_certain and type(transform) is str
            column = inner[0] if inner else None
        if column is not None:
            yield Condition(column.target, _path(query, column), lookup, inside.get("rhs"), is_certain)


def _path(query: Any, column: Any) -> str:
    parts, alias = [column.target.name], column.alias
    for _ in range(_MAX_JOINS):
        join = query.alias_map.get(alias)
        parent = getattr(join, "parent_alias", None)
        if parent is None:
            break
        alias, name = parent, join.join_field.name
        between = many_to_many_of(join.join_field)
        if between is not None:
            # The table between is no part of it, nor is its column for the other side.
            parts, name = parts[1:], between
        elif getattr(getattr(join.join_field, "remote_field", None), "parent_link", False):
            continue  # a field of a parent's table is the model's own
        parts.insert(0, name)
    return "__".join(parts)


def many_to_many_of(join_field: Any) -> str | None:
    """The many-to-many relation whose table between is joined by a field's other side; None: it is no such table."""
    through, owner = getattr(join_field, "related_model", None), getattr(join_field, "model", None)
    if through is None or not getattr(through._meta, "auto_created", False):
        return None
    return accessor(owner, through, join_field.field.name, is_for_queries=True) or None


def all_many_to_many(model: Any) -> Iterator[tuple[str, str, Any, Any, str]]:
    """Accessor, name in queries, other model, table between and its column for this side, of each such relation."""
    opts = model._meta
    for field in opts.many_to_many:
        if hasattr(field, "m2m_field_name"):
            yield field.name, field.name, field.related_model, field.remote_field.through, field.m2m_field_name()
    for rel in opts.related_objects:
        if rel.many_to_many and hasattr(rel.field, "m2m_reverse_field_name"):
            yield (
                rel.get_accessor_name(),
                rel.name,
                rel.related_model,
                rel.through,
                rel.field.m2m_reverse_field_name(),
            )


def accessor(owner: Any, through: Any, source: Any, *, is_for_queries: bool = False) -> str:
    """The name of the many-to-many relation of a model that has this table between and this column; "" for none."""
    for name, query_name, _, between, column in all_many_to_many(owner):
        if between is through and column == source:
            return query_name if is_for_queries else name
    return ""
