"""Which function of Django's each frame between the application and a query is, and what that means for it.

By module and name instead of by code object, because several are closures (the managers of relations), and because
nothing of Django's has to be imported for it; the very table is what is declared as needed, with the versions that
have each. Innermost first, the first one with a meaning decides.
"""

from __future__ import annotations

import functools
import sys
from types import CodeType, FrameType
from typing import Any, Final

from clew.engine import needs, silenced
from clew.engine.needs import Need
from clew.source.stack import awaiting_frames

FORWARD: Final = "forward"
DEFERRED: Final = "deferred"
GENERIC: Final = "generic"
PREFETCH: Final = "prefetch"
REFRESH: Final = "refresh"
# Django asks several times by itself, or makes sure of something: not to be mended where it is called.
ITS_OWN: Final = "its_own"
MIGRATING: Final = "migrating"
CHUNKS: Final = "chunks"
# It belongs to a write, which may be one of a loop of writes.
WRITING: Final = "writing"
# The admin shows what would be deleted.
LISTING_DELETED: Final = "listing_deleted"

_DESCRIPTORS = "django.db.models.fields.related_descriptors"
_GENERIC = "django.contrib.contenttypes.fields"
_ADMIN = "django.contrib.admin.utils"
_QUERY = "django.db.models.query"
_UTILS = "django.db.models.query_utils"
_BASE = "django.db.models.base"
_OF_MANY = "create_reverse_many_to_one_manager.<locals>.RelatedManager."
_OF_MANY_TO_MANY = "create_forward_many_to_many_manager.<locals>.ManyRelatedManager."
_OF_GENERIC = "create_generic_related_manager.<locals>.GenericRelatedObjectManager."


def _each(module: str, owner: str, functions: str, since: str = "", until: str = "") -> tuple[Need, ...]:
    return needs.functions(module, *(owner + name for name in functions.split()), since=since, until=until)


_MEANINGS = (
    (FORWARD, _each(_DESCRIPTORS, "", "ForwardManyToOneDescriptor.__get__ ReverseOneToOneDescriptor.__get__")),
    (GENERIC, _each(_GENERIC, "", "GenericForeignKey.__get__", until="6.1")),
    (GENERIC, _each(_GENERIC, "", "GenericForeignKeyDescriptor.__get__", since="6.1")),
    (DEFERRED, _each(_UTILS, "", "DeferredAttribute.__get__")),
    (PREFETCH, _each(_QUERY, "", "prefetch_one_level")),
    (REFRESH, _each(_BASE, "Model.", "refresh_from_db")),
    (
        ITS_OWN,
        _each(_BASE, "Model.", "_perform_unique_checks _perform_date_checks validate_unique validate_constraints"),
    ),
    (ITS_OWN, _each(_QUERY, "QuerySet.", "in_bulk")),
    (ITS_OWN, _each(_UTILS, "DeferredAttribute.", "fetch_many", since="6.1")),
    (ITS_OWN, _each("django.db.models.constraints", "", "CheckConstraint.validate UniqueConstraint.validate")),
    (ITS_OWN, _each("django.db.models.fields.related", "ForeignKey.", "validate")),
    (ITS_OWN, _each("django.forms.models", "", "BaseModelForm.validate_unique BaseModelFormSet.validate_unique")),
    # Each form of a formset asks for its own row and choices; its own methods are the application's, and come first.
    (ITS_OWN, _each("django.forms.formsets", "BaseFormSet.", "full_clean")),
    (
        ITS_OWN,
        _each(
            "django.contrib.contenttypes.models",
            "ContentTypeManager.",
            "get_for_id get_for_model get_for_models get_by_natural_key",
        ),
    ),
    (ITS_OWN, _each("django.contrib.auth", "", "get_user")),
    (ITS_OWN, _each("django.contrib.auth", "", "aget_user", since="5.0")),
    (ITS_OWN, _each("django.contrib.sites.models", "SiteManager.", "get_current")),
    (CHUNKS, _each(_QUERY, "QuerySet.", "_iterator aiterator")),
    (WRITING, _each("django.db.models.deletion", "Collector.", "collect delete can_fast_delete related_objects")),
    (
        WRITING,
        _each(_QUERY, "QuerySet.", "_batched_insert bulk_create bulk_update get_or_create update_or_create"),
    ),
    (LISTING_DELETED, _each(_ADMIN, "", "get_deleted_objects")),
    (WRITING, _each(_BASE, "Model.", "save_base _save_table _do_update")),
    (WRITING, _each(_DESCRIPTORS, _OF_MANY, "add set remove clear _clear")),
    (
        WRITING,
        _each(_DESCRIPTORS, _OF_MANY_TO_MANY, "add set remove clear _add_items _remove_items _get_missing_target_ids"),
    ),
    (WRITING, _each(_GENERIC, _OF_GENERIC, "add set remove clear _clear")),
)
_BY_NAME = {(need.module, need.name): meaning for meaning, some in _MEANINGS for need in some}
_OFF = ("n_plus_one", "repeated_query", "write_in_loop", "unbounded_fetch")
needs.declare(
    __name__,
    *(need for _, some in _MEANINGS for need in some),
    *needs.functions(_QUERY, "QuerySet", "RawQuerySet"),
    *needs.functions("django.db.models.manager", "BaseManager"),
    *needs.functions(_BASE, "Model"),
    *needs.inside(_QUERY, "QuerySet._batched_insert", "objs"),
    consequence=f"{', '.join(_OFF[:-1])} and {_OFF[-1]} are not looked for, since what Django repeats by itself or"
    " does in one go would be taken for the application's",
    switch_off=functools.partial(silenced.silence, *_OFF),
)

# All of these packages: sessions and caches in the database, migrations, fixtures.
SYSTEM = ("django.contrib.sessions", "django.core.cache", "django.db.migrations", "django.core.management.commands")


_EXECUTOR = "django.db.migrations.executor"
_MAX_KNOWN = 10_000
# By the id of a frame's code, which is held so that it stays its own.
_meanings: dict[int, tuple[CodeType, str]] = {}


def meaning(frame: FrameType) -> str:
    """What a frame means; "" for most."""
    code = frame.f_code
    known = _meanings.get(id(code))
    if known is None:
        if len(_meanings) >= _MAX_KNOWN:
            _meanings.clear()
        known = _meanings[id(code)] = code, _meaning(frame.f_globals.get("__name__", ""), code.co_name)
    return known[1]


def _meaning(module: Any, name: str) -> str:
    found = _BY_NAME.get((module, name), "")
    if not found and type(module) is str and module.startswith(SYSTEM):
        return MIGRATING if "migrations" in module else ITS_OWN
    return found


def is_in_migration(frame: FrameType | None) -> bool:
    """Whether a data migration's own code is on the stack, from `frame` outwards: then Django's is before it."""
    return _EXECUTOR in sys.modules and _is_on_stack(MIGRATING, frame)


def is_listing_deleted(frame: FrameType | None) -> bool:
    """Whether the admin's page that asks whether to delete is on the stack, from `frame` outwards."""
    return _ADMIN in sys.modules and _is_on_stack(LISTING_DELETED, frame)


def _is_on_stack(what: str, frame: FrameType | None) -> bool:
    known = _meanings
    while frame is not None:
        code = frame.f_code
        found = known.get(id(code))
        if (meaning(frame) if found is None else found[1]) is what:
            return True
        frame = frame.f_back
    return any(meaning(each) is what for each in awaiting_frames())


def self_of(frame: FrameType) -> Any:
    """The object whose method a frame is; None for a function."""
    names = frame.f_code.co_varnames
    return frame.f_locals.get("self") if names and names[0] == "self" else None


def is_of(kind: type, module: str, name: str) -> bool:
    """Whether a class is, or inherits from, the one of that name; without importing it."""
    for base in kind.__mro__:  # noqa: SIM110 - a generator costs as much again
        if base.__name__ == name and base.__module__ == module:
            return True
    return False


def is_queryset(kind: type) -> bool:
    """Whether a class is one of querysets, raw ones included."""
    return is_of(kind, _QUERY, "QuerySet") or is_of(kind, _QUERY, "RawQuerySet")


def is_manager(kind: type) -> bool:
    """Whether a class is one of managers."""
    return is_of(kind, "django.db.models.manager", "BaseManager")


def is_model(kind: type) -> bool:
    """Whether a class is a model."""
    return is_of(kind, _BASE, "Model")
