"""What a queryset being evaluated says of itself: whose relation it is, what it filters by, whether it locks.

Read from its `__dict__`, from Django's own objects in it and from the model registry; nothing is evaluated or cloned.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from types import CodeType
from typing import Any

from clew.detectors import changes, conditions, orm_frames
from clew.detectors.conditions import Condition
from clew.engine import needs
from clew.sql.statement import Statement

_DESCRIPTORS, _GENERIC = "django.db.models.fields.related_descriptors", "django.contrib.contenttypes.fields"
_OF_MANY = "create_reverse_many_to_one_manager.<locals>.RelatedManager"
_OF_MANY_TO_MANY = "create_forward_many_to_many_manager.<locals>.ManyRelatedManager"
needs.declare(
    __name__,
    *needs.attributes("django.db.models.query", "QuerySet", "model", "_query", "_hints", "_known_related_objects"),
    *needs.inside("django.db.models.query", "prefetch_one_level", "_prefetched_objects_cache"),
    *needs.attributes("django.db.models.sql.query", "Query", "select_for_update"),
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
    *needs.attributes("django.db.models.options", "Options", "private_fields", "managers"),
    *needs.attributes("django.contrib.contenttypes.models", "ContentTypeManager", "_cache"),
    consequence="what is loaded again and again is not always told by the relation's name",
)

_KEYS = (int, str, uuid.UUID)


@dataclass
class Facts:
    """What is known of a queryset.

    Args:
        model: the class it asks for.
        manager: the manager of its that was asked; None: the default one.
        owner: the class whose relation it is; None for no relation.
        relation: the relation's name.
        where: what it filters by.
        own: how many of these come before what the application has added: its manager's, and the relation's.
        changes: how else it differs from all objects, see changes.py.
        is_by_key: it is ordered by its key alone.
        is_prefetched, is_locking, is_raw: see `relation.Load`.
    """

    model: Any = None
    manager: Any = None
    owner: Any = None
    relation: str = ""
    where: tuple[Condition, ...] = ()
    own: int = 0
    changes: tuple[str, ...] = ()
    is_by_key: bool = False
    is_prefetched: bool = False
    is_locking: bool = False
    is_raw: bool = False


def key_of(instance: Any) -> Any:
    """An object's primary key, if it is loaded and a plain one."""
    opts = type(instance)._meta
    found = instance.__dict__.get(opts.pk.attname) if opts.pk is not None else None
    return found if type(found) in _KEYS else None


def read(queryset: Any, manager: Any, statement: Statement, method: str, code: CodeType | None = None) -> Facts:
    """What is known of a queryset, or of the manager of a relation that made one.

    Args:
        queryset: the one that is evaluated.
        manager: that of a relation.
        statement: what the query's text says.
        method: the last one called.
        code: the application's that asks: it names the manager.
    """
    held = queryset.__dict__ if queryset is not None else {}
    query, model = held.get("_query"), held.get("model")
    facts = Facts(
        model=model if hasattr(model, "_meta") else None,
        where=tuple(conditions.read(query)),
        is_locking=getattr(query, "select_for_update", False) is True,
        is_raw=queryset is not None and query is None,
    )
    _find_owner(facts, held, manager, statement)
    if query is not None:
        if not facts.relation and facts.model is not None:
            facts.manager = _named(facts.model, code)
        own = facts.manager or getattr(facts.model, "_default_manager", None)
        facts.changes = changes.read(queryset, query, own, method)
        facts.is_by_key = changes.is_by_key(query)
        if not facts.relation and facts.model is not None:
            words = changes.words_of(own)
            facts.where = tuple(
                each for each in facts.where if words.isdisjoint((each.path, each.text().partition("=")[0]))
            )
    return facts


def _named(model: Any, code: CodeType | None) -> Any:
    """The only manager of a model's that a function names."""
    found = [each for each in model._meta.managers if code is not None and each.name in code.co_names]
    return found[0] if len(found) == 1 else None


def _find_owner(facts: Facts, held: dict[str, Any], manager: Any, statement: Statement) -> None:
    hint = held.get("_hints", {}).get("instance")
    if manager is not None:
        _from_manager(facts, manager.__dict__)
    elif (known := held.get("_known_related_objects")) and hint is not None:
        field = next(iter(known))
        _own(facts, hint, field.remote_field.get_accessor_name(), field)
    elif hint is not None and orm_frames.is_model(type(hint)):
        _many_to_many(facts, hint, statement)
    elif facts.model is not None:
        _generic(facts)


def _own(facts: Facts, instance: Any, relation: str, *fields: Any) -> None:
    """Set the object whose relation it is, and the fields that make the relation's condition."""
    if not relation:
        return
    facts.owner, facts.relation = type(instance), relation
    first = {id(each.field): at for at, each in reversed(list(enumerate(facts.where)))}
    facts.own = max([first.get(id(field), -1) + 1 for field in fields], default=len(facts.where))
    # Named like the relation, but for reverse many-to-many ones without related_name.
    cache = getattr(instance, "__dict__", {}).get("_prefetched_objects_cache")
    facts.is_prefetched = type(cache) is dict and relation in cache


def _from_manager(facts: Facts, held: dict[str, Any]) -> None:
    field, through = held.get("field"), held.get("through")
    fields: tuple[Any, ...] = (field,)
    if "prefetch_cache_name" in held and through is not None:
        relation = conditions.accessor(type(held["instance"]), through, held.get("source_field_name"))
        fields = (through._meta.get_field(held["source_field_name"]),)
        if facts.model is through:
            # What counts them asks the table between only.
            facts.where, facts.model = (), held.get("model")
    elif "prefetch_cache_name" in held:
        relation = held["prefetch_cache_name"]
        opts = held["model"]._meta
        fields = (opts.get_field(held["content_type_field_name"]), opts.get_field(held["object_id_field_name"]))
    else:
        relation = field.remote_field.get_accessor_name() if field is not None else ""
    facts.model = facts.model or held.get("model")
    _own(facts, held["instance"], relation, *fields)


def _many_to_many(facts: Facts, hint: Any, statement: Statement) -> None:
    columns = {each.field.name for each in facts.where}
    # By table and column, because a model can have two such relations to one other, or one to itself.
    for name, _, model, through, column in conditions.all_many_to_many(type(hint)):
        is_target = model is facts.model or (facts.model is not None and model in facts.model.__mro__)
        if is_target and through._meta.db_table in statement.tables and column in columns:
            _own(facts, hint, name, through._meta.get_field(column))
            return


def _generic(facts: Facts) -> None:
    """Set a generic relation's owner: its queryset has no hint, but filters by content type and key."""
    values: dict[str, Any] = {each.field.name: each.value for each in facts.where}
    opts: Any = facts.model._meta
    for field in opts.private_fields:
        ct_field, fk_field = getattr(field, "ct_field", None), getattr(field, "fk_field", None)
        if ct_field is None or type(values.get(ct_field)) is not int or fk_field not in values:
            continue
        owner = _content_types(field, ct_field).get(values[ct_field])
        for each in owner._meta.private_fields if owner is not None else ():
            if getattr(each, "related_model", None) is facts.model and hasattr(each, "object_id_field_name"):
                facts.owner, facts.relation = owner, each.name
                made_by = {id(opts.get_field(name)) for name in (ct_field, fk_field)}
                facts.own = 1 + [at for at, each in enumerate(facts.where) if id(each.field) in made_by][1]
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
