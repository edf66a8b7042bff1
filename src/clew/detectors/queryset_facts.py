"""What a queryset being evaluated says of itself: whose relation it is, what it filters by, whether it locks.

Read from its `__dict__`, from Django's own objects in it and from the model registry; nothing is evaluated or cloned.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from clew.detectors import orm_frames
from clew.engine import needs
from clew.sql.statement import Statement

_DESCRIPTORS, _GENERIC = "django.db.models.fields.related_descriptors", "django.contrib.contenttypes.fields"
_OF_MANY = "create_reverse_many_to_one_manager.<locals>.RelatedManager"
_OF_MANY_TO_MANY = "create_forward_many_to_many_manager.<locals>.ManyRelatedManager"
needs.declare(
    __name__,
    *needs.attributes("django.db.models.query", "QuerySet", "model", "_query", "_hints", "_known_related_objects"),
    *needs.inside("django.db.models.query", "prefetch_one_level", "_prefetched_objects_cache"),
    *needs.attributes("django.db.models.sql.query", "Query", "where", "high_mark", "low_mark", "select_for_update"),
    *needs.attributes("django.utils.tree", "Node", "children"),
    *needs.attributes("django.db.models.lookups", "Lookup", "lhs", "rhs"),
    *needs.attributes("django.db.models.expressions", "Col", "target"),
    *needs.attributes("django.db.models.expressions", "Func", "source_expressions"),
    *needs.attributes(_DESCRIPTORS, _OF_MANY, "instance", "field", "model"),
    *needs.attributes(
        _DESCRIPTORS,
        _OF_MANY_TO_MANY,
        *("instance", "model", "prefetch_cache_name", "source_field_name", "through", "reverse"),
    ),
    *needs.attributes(
        _GENERIC,
        "create_generic_related_manager.<locals>.GenericRelatedObjectManager",
        *("instance", "model", "prefetch_cache_name", "object_id_field_name"),
    ),
    *needs.attributes("django.db.models.options", "Options", "private_fields", "many_to_many", "related_objects"),
    *needs.attributes("django.db.models.fields.related", "ManyToManyField", "m2m_field_name", "m2m_reverse_field_name"),
    *needs.attributes("django.contrib.contenttypes.models", "ContentTypeManager", "_cache"),
    consequence="what is loaded again and again is not always told by the relation's name",
)

_KEYS = (int, str, uuid.UUID)
_MAX_DEPTH = 5


@dataclass
class Facts:
    """What is known of a queryset.

    Args:
        target: name of the class it asks for.
        owner: name of the class whose relation it is; "" for none.
        relation: the relation's name.
        fields: what it filters by, comma-separated.
        is_refined, is_prefetched, is_locking, is_raw: see `relation.Load`.
    """

    target: str = ""
    owner: str = ""
    relation: str = ""
    fields: str = ""
    is_refined: bool = False
    is_prefetched: bool = False
    is_locking: bool = False
    is_raw: bool = False


def key_of(instance: Any) -> Any:
    """An object's primary key, if it is loaded and a plain one."""
    opts = type(instance)._meta
    found = instance.__dict__.get(opts.pk.attname) if opts.pk is not None else None
    return found if type(found) in _KEYS else None


def read(queryset: Any, manager: Any, statement: Statement) -> Facts:
    """What is known of a queryset, or of the manager of a relation that made one."""
    held = queryset.__dict__ if queryset is not None else {}
    query = held.get("_query")
    where = list(_conditions(getattr(query, "where", None)))
    facts = Facts(
        target=_name(held.get("model")),
        fields=", ".join(dict.fromkeys([field.name for field, _ in where])),
        is_locking=getattr(query, "select_for_update", False) is True,
        is_raw=queryset is not None and query is None,
    )
    expected = 1
    if manager is not None:
        expected = _from_manager(facts, manager)
    elif (known := held.get("_known_related_objects")) and (hint := held.get("_hints", {}).get("instance")) is not None:
        field = next(iter(known))
        _own(facts, hint, field.remote_field.get_accessor_name())
    elif (hint := held.get("_hints", {}).get("instance")) is not None and orm_frames.is_model(type(hint)):
        _own(facts, hint, _many_to_many(type(hint), held.get("model"), where, statement))
    elif model := held.get("model"):
        expected = 2
        _generic(facts, model, where)
    is_sliced = query is not None and (query.high_mark is not None or query.low_mark != 0)
    facts.is_refined = len(where) > expected or (is_sliced and not statement.is_aggregate)
    return facts


def _name(model: Any) -> str:
    return model.__name__ if type(model) is not str and hasattr(model, "__name__") else ""


def _own(facts: Facts, instance: Any, relation: str) -> None:
    if not relation:
        return
    facts.owner, facts.relation = type(instance).__name__, relation
    # Named like the relation, but for reverse many-to-many ones without related_name.
    cache = getattr(instance, "__dict__", {}).get("_prefetched_objects_cache")
    facts.is_prefetched = type(cache) is dict and relation in cache


def _conditions(node: Any, depth: int = 0) -> Iterator[tuple[Any, Any]]:
    """The (field, value) pairs of the conditions, through AND, OR and NOT."""
    for child in getattr(node, "children", ()) if depth < _MAX_DEPTH else ():
        held = getattr(child, "__dict__", {})
        if "children" in held:
            yield from _conditions(child, depth + 1)
            continue
        column = held.get("lhs")
        # A transform (`created__year`) has its column one further in.
        while column is not None and "target" not in getattr(column, "__dict__", {}):
            inner = getattr(column, "__dict__", {}).get("source_expressions")
            column = inner[0] if inner else None
        if column is not None:
            yield column.target, held.get("rhs")


def _from_manager(facts: Facts, manager: Any) -> int:
    """Set the owner of a relation's manager; returns how many conditions it makes by itself."""
    held = manager.__dict__
    field = held.get("field")
    if "prefetch_cache_name" in held and (through := held.get("through")) is not None:
        relation = _accessor(
            type(held["instance"]), through, held.get("reverse") is True, held.get("source_field_name")
        )
    elif "prefetch_cache_name" in held:
        relation = held["prefetch_cache_name"]
    else:
        relation = field.remote_field.get_accessor_name() if field is not None else ""
    facts.target = facts.target or _name(held.get("model"))
    _own(facts, held["instance"], relation)
    return 2 if "object_id_field_name" in held else 1


def _all_many_to_many(model: Any) -> Iterator[tuple[str, Any, Any, str]]:
    """Name, other model, table between and its column for this side, of each many-to-many relation of a model."""
    opts = model._meta
    for field in opts.many_to_many:
        if hasattr(field, "m2m_field_name"):
            yield field.name, field.related_model, field.remote_field.through, field.m2m_field_name()
    for rel in opts.related_objects:
        if rel.many_to_many and hasattr(rel.field, "m2m_reverse_field_name"):
            yield rel.get_accessor_name(), rel.related_model, rel.through, rel.field.m2m_reverse_field_name()


def _accessor(owner: Any, through: Any, is_reverse: bool, source: Any) -> str:
    for name, _, between, column in _all_many_to_many(owner):
        if between is through and column == source:
            return name
    return ""


def _many_to_many(owner: Any, target: Any, where: list[tuple[Any, Any]], statement: Statement) -> str:
    columns = {field.name for field, _ in where}
    # By table and column, because a model can have two such relations to one other, or one to itself.
    for name, model, through, column in _all_many_to_many(owner):
        is_target = model is target or (target is not None and model in target.__mro__)
        if is_target and through._meta.db_table in statement.tables and column in columns:
            return name
    return ""


def _generic(facts: Facts, model: Any, where: list[tuple[Any, Any]]) -> None:
    """Set a generic relation's owner: its queryset has no hint, but filters by content type and key."""
    values = {field.name: value for field, value in where}
    for field in getattr(model, "_meta").private_fields:  # noqa: B009 - a model's, as everywhere in Django
        ct_field, fk_field = getattr(field, "ct_field", None), getattr(field, "fk_field", None)
        if ct_field is None or ct_field not in values or fk_field not in values:
            continue
        owner: Any = _content_types(field, ct_field).get(values[ct_field]) if type(values[ct_field]) is int else None
        for each in owner._meta.private_fields if owner is not None else ():
            if getattr(each, "related_model", None) is model and hasattr(each, "object_id_field_name"):
                facts.owner, facts.relation = owner.__name__, each.name
                return


def _content_types(field: Any, ct_field: str) -> dict[int, Any]:
    """The models of the content types this process has loaded, by id."""
    content_type = field.model._meta.get_field(ct_field).related_model
    # The manager's own cache: asking it for an id could be a query.
    caches = content_type.objects.__dict__.get("_cache", {})
    return {
        key: each.model_class()
        for cache in list(caches.values())
        for key, each in list(cache.items())
        if type(key) is int
    }
