"""What a query that is run again and again loads, told from the live frames: which relation of which model, and how.

Nothing of the ORM is patched, and nothing of the application's is called: descriptors, managers and querysets are found
as locals of Django's own frames, and read through their `__dict__`. Walked once for a place in the code, when the
detector has seen enough runs from there.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any, Final

from clew.detectors import orm_frames, parameters, queryset_facts, walks
from clew.detectors.conditions import Condition
from clew.detectors.orm_frames import self_of
from clew.detectors.queryset_facts import Facts
from clew.engine import needs, silenced
from clew.source import frames
from clew.source.stack import stack
from clew.story.query import Query

_DESCRIPTORS = "django.db.models.fields.related_descriptors"
needs.declare(
    __name__,
    *needs.inside("django.db.models.query_utils", "DeferredAttribute.__get__", "instance"),
    *needs.attributes("django.db.models.query_utils", "DeferredAttribute", "field"),
    *needs.inside(_DESCRIPTORS, "ForwardManyToOneDescriptor.__get__", "instance"),
    *needs.attributes(_DESCRIPTORS, "ForwardManyToOneDescriptor", "field"),
    *needs.inside(_DESCRIPTORS, "ReverseOneToOneDescriptor.__get__", "instance"),
    *needs.attributes(_DESCRIPTORS, "ReverseOneToOneDescriptor", "related"),
    *needs.attributes(_DESCRIPTORS, "ReverseManyToOneDescriptor", "rel"),
    *needs.inside("django.contrib.contenttypes.fields", "GenericForeignKey.__get__", "instance", until="6.1"),
    *needs.attributes("django.contrib.contenttypes.fields", "GenericForeignKey", "name"),
    *needs.inside("django.contrib.contenttypes.fields", "GenericForeignKeyDescriptor.__get__", "instance", since="6.1"),
    *needs.attributes("django.contrib.contenttypes.fields", "GenericForeignKeyDescriptor", "field", since="6.1"),
    *needs.inside("django.db.models.query", "prefetch_one_level", "instances", "lookup", "level"),
    *needs.attributes("django.db.models.query", "Prefetch", "prefetch_through"),
    consequence="n_plus_one does not always name the relation, and repeated_query is not looked for, since several"
    " objects' loads would look like the same one",
    switch_off=functools.partial(silenced.silence, "repeated_query"),
)
# Kinds of a load.
SELECTED, DEFERRED, GENERIC, PREFETCHED = "selected", "deferred", "generic", "prefetched"
RELATED, REFRESHED, QUERIED, RAW = "related", "refreshed", "queried", "raw"

_STOPS: Final = frozenset(
    (
        frames.APPLICATION,
        frames.TEMPLATE_NODE,
        frames.SERIALIZER_FIELDS,
        frames.JINJA,
        frames.TEMPLATE,
        frames.SERIALIZER,
        frames.SIGNAL,
        frames.HOOK,
    )
)
_LEFT_ALONE = frozenset((orm_frames.ITS_OWN, orm_frames.MIGRATING, orm_frames.WRITING))
_OVERRIDDEN = frozenset(
    ("refresh_from_db", "get_queryset", "get", "first", "last", "count", "exists", "aggregate", "iterator", "__iter__")
)
_ASYNC = frozenset(("aget", "afirst", "alast", "acount", "aexists", "aaggregate", "alatest", "aearliest", "acontains"))


@dataclass(frozen=True)
class Load:
    """What one run of the query loads.

    Args:
        kind: one of those above.
        model: the class each of whose objects asks; where no object does, the one that is asked for.
        field: its relation or field; where there is none, what is filtered by.
        target: the class that is asked for.
        method: the last method of the queryset: `get`, `count` ...; "" where it is gone through.
        facts: what its queryset says.
        owner: the asking object's key, where it is a plain one.
        varying: what is filtered by another value than the first time; empty where that cannot be told.
        text: the query's.
        is_walk: each run asks for what the one before has found, like a recursion down a tree.
        is_built: no queryset has loaded the asking object: it was made here.
        is_listed: the admin's page that asks whether to delete shows the asking objects.
    """

    kind: str = RAW
    model: str = ""
    field: str = ""
    target: str = ""
    method: str = ""
    facts: Facts = dataclasses.field(default_factory=Facts)
    owner: Any = None
    varying: tuple[Condition, ...] = ()
    text: str = ""
    is_walk: bool = False
    is_built: bool = False
    is_listed: bool = False

    @property
    def relation(self) -> str:
        """`Post.author`; "" where it is no relation or field of an object."""
        return f"{self.model}.{self.field}" if self.kind not in (QUERIED, RAW, REFRESHED) else ""

    @property
    def name(self) -> str:
        """The name of what is loaded, for a message."""
        return self.relation or self.model or self.target

    @property
    def is_queryset(self) -> bool:
        """Whether the site's code asks by a queryset, a model's or a relation's."""
        return self.kind in (QUERIED, RELATED)

    @property
    def is_of_one_object(self) -> bool:
        """Whether it is one object's relation that is asked for, with other conditions each time."""
        own = self.facts.where[: self.facts.own]
        return self.kind == RELATED and bool(self.varying) and not any(each in own for each in self.varying)

    @property
    def is_of_objects(self) -> bool:
        """Whether an object asks once only, so that the same parameters still are another object's."""
        return self.kind in (SELECTED, DEFERRED, GENERIC, PREFETCHED)


class _Seen:
    """What the frames so far have shown, from the query outwards."""

    def __init__(self) -> None:
        self.queryset: Any = None
        self.manager: Any = None
        self.refreshed: Any = None
        self.method = ""
        self.code: CodeType | None = None


def classify(query: Query) -> Load | None:
    """What a query that is being run loads; None: it is to be left alone."""
    seen = _Seen()
    found: Load | None = None
    for frame in stack(query.frame):
        what = orm_frames.meaning(frame)
        if what in _LEFT_ALONE:
            return None
        if found is not None:
            # One object can be what is left for the last chunk of an .iterator().
            if what == orm_frames.CHUNKS:
                return None
        elif what and what != orm_frames.CHUNKS:
            found = _loaded(what, frame, seen, query)
            if what == orm_frames.PREFETCH and found is None:
                return None
        else:
            _look(frame, seen)
        if (found is not None and found.kind != PREFETCHED) or _is_stop(frame):
            if orm_frames.is_in_migration(frame.f_back):
                return None
            seen.code = frame.f_code
            break
    found = found or _concluded(query, seen)
    if found is not None and found.relation and orm_frames.is_listing_deleted(query.frame):
        found = dataclasses.replace(found, is_listed=True)
    if found is not None and found.facts.owner is not None and walks.is_walk(query, found.facts):
        return dataclasses.replace(found, is_walk=True)
    return found


def _is_stop(frame: FrameType) -> bool:
    kind = frames.kind_of(frame)
    if kind not in _STOPS and kind < frames.FIRST_END:
        return False
    # An application's own manager or model between Django's own methods.
    if kind == frames.APPLICATION and frame.f_code.co_name in _OVERRIDDEN:
        owner = type(self_of(frame))
        if frame.f_code.co_name == "refresh_from_db":
            return not orm_frames.is_model(owner)
        return not (orm_frames.is_queryset(owner) or orm_frames.is_manager(owner))
    return kind != frames.THREAD


def _loaded(what: str, frame: FrameType, seen: _Seen, query: Query) -> Load | None:
    held = frame.f_locals
    # Decided further out: reading a deferred field goes through refresh_from_db as well.
    if what == orm_frames.REFRESH:
        seen.refreshed = held.get("self")
        return None
    if what == orm_frames.PREFETCH:
        return _prefetched(held)
    instance, named = held.get("instance"), _field_of(held.get("self"), what)
    if instance is None or named is None or not orm_frames.is_model(type(instance)):
        return None
    name, target = named
    kinds = {orm_frames.FORWARD: SELECTED, orm_frames.DEFERRED: DEFERRED, orm_frames.GENERIC: GENERIC}
    facts = Facts(model=target, owner=type(instance), relation=name)
    return dataclasses.replace(_of_object(kinds[what], instance, facts), is_built=_is_built(instance, query))


def _is_built(instance: Any, query: Query) -> bool:
    asked = query.local.queries
    logs = asked.aliases.values() if asked is not None else ()
    statements = [each.statement for log in logs for each in log.repeats.values()]
    is_loaded = any(each.is_select and type(instance)._meta.db_table in each.tables for each in statements)
    return not is_loaded or getattr(instance.__dict__.get("_state"), "adding", False) is True


def _of_object(kind: str, instance: Any, facts: Facts) -> Load:
    target = getattr(facts.model, "__name__", "")
    return Load(
        kind, type(instance).__name__, facts.relation, target, facts=facts, owner=queryset_facts.key_of(instance)
    )


def _field_of(descriptor: Any, what: str) -> tuple[str, Any] | None:
    """The field's name, and the class of what it leads to."""
    held = getattr(descriptor, "__dict__", {})
    if what == orm_frames.GENERIC:
        # Until Django 5.2 the field is its own descriptor.
        return str(getattr(held.get("field"), "name", "") or held.get("name", "")), None
    if "related" in held:
        return str(held["related"].get_accessor_name()), held["related"].related_model
    named = held.get("field")
    # The descriptor of many objects (`rel`) only makes a manager; it loads nothing.
    if named is None or "rel" in held:
        return None
    return str(named.name), named.related_model if what == orm_frames.FORWARD else None


def _prefetched(held: Any) -> Load | None:
    instances = held.get("instances")
    if type(instances) is not list or len(instances) != 1 or not orm_frames.is_model(type(instances[0])):
        return None
    lookup = held.get("lookup")
    # `author__posts` is one lookup with two levels; the instances are those of this level.
    through, level = str(getattr(lookup, "prefetch_through", "")), held.get("level") or 0
    named = "".join(through.split("__")[level : level + 1])
    return _of_object(PREFETCHED, instances[0], Facts(owner=type(instances[0]), relation=named))


def _look(frame: FrameType, seen: _Seen) -> None:
    owner = self_of(frame)
    if owner is None:
        return
    kind, name = type(owner), frame.f_code.co_name
    if orm_frames.is_queryset(kind):
        # The innermost has the conditions, the outermost method is what the application called.
        seen.queryset = seen.queryset if seen.queryset is not None else owner
        if (not name.startswith("_") or name == "__getitem__") and hasattr(kind, name):  # not somebody's wrapper
            seen.method = name
        elif name == "_iterator":
            seen.method = "iterator"
    # Of a relation's managers only count() and exists() are still there when the query is run.
    elif orm_frames.is_manager(kind) and "instance" in getattr(owner, "__dict__", {}):
        seen.manager = owner
        if name in ("count", "exists"):
            seen.method = name


def _concluded(query: Query, seen: _Seen) -> Load | None:
    queryset = seen.queryset
    if seen.refreshed is not None:
        model = type(seen.refreshed).__name__
        return Load(REFRESHED, model, target=model, owner=queryset_facts.key_of(seen.refreshed))
    if queryset is None and seen.manager is None:
        return Load(RAW, target=query.statement.collection or query.statement.summary)
    method = seen.method.removeprefix("a") if seen.method in _ASYNC else seen.method
    facts = queryset_facts.read(queryset, seen.manager, query.statement, method, seen.code)
    target = getattr(facts.model, "__name__", "")
    if facts.relation:
        owner, text = facts.owner.__name__, query.statement.text
        return Load(RELATED, owner, facts.relation, target, method, facts, text=text)
    # SQLite leaves FOR UPDATE out of the text.
    if facts.is_locking:
        return None
    fields = ", ".join(dict.fromkeys([each.path for each in facts.where]))
    return Load(RAW if facts.is_raw else QUERIED, target, fields, target, method, facts, text=query.statement.text)


def varying(query: Query, facts: Facts) -> tuple[Condition, ...]:
    """The conditions whose values are others than in the first run."""
    first: Any = query.repeats.first_params if query.repeats is not None else None
    now: Any = query.params
    # Comparisons with True, False and None have no parameter.
    given = [(each, _width(each)) for each in facts.where if type(each.value) not in (bool, type(None))]
    at = len(now) - sum(width for _, width in given) if type(now) in (tuple, list) else -1
    if type(first) not in (tuple, list) or len(first) != len(now) or at < 0 or not all(width for _, width in given):
        return ()
    found = []
    for each, width in given:  # conditions come last
        if parameters.are_different(first[at : at + width], now[at : at + width]):
            found.append(each)
        at += width
    return tuple(found)


def _width(condition: Condition) -> int:
    """How many parameters a condition has; 0: it is not known."""
    value = condition.value
    if type(value) in (list, tuple) and all(map(parameters.is_simple, value)):
        return len({*value} - {None}) if condition.lookup == "in" else len(value)
    return int(parameters.is_simple(value))
