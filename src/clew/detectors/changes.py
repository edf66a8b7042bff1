"""By which methods a relation's queryset was made another than `.all()`, told from the queryset as it is evaluated.

What the default manager does itself (soft deletion, tenants, an order) is no change: what it filters by comes before
the relation's own condition, and what else it calls stands in its code.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import CodeType
from typing import Any

from clew.detectors.orm_frames import is_queryset
from clew.engine import needs

needs.declare(
    __name__,
    *needs.attributes(
        "django.db.models.sql.query",
        "Query",
        *("order_by", "extra_order_by", "standard_ordering", "values_select", "annotations", "deferred_loading"),
        *("distinct", "combinator", "select_related", "high_mark", "low_mark"),
    ),
    *needs.attributes("django.db.models.query", "QuerySet", "_iterable_class", "_prefetch_related_lookups"),
    consequence="n_plus_one does not always tell a relation that was ordered or narrowed from all of it",
)
_MAX_CODES = 30
_VALUES = {
    "ValuesIterable": "values",
    "ValuesListIterable": "values_list",
    "NamedValuesListIterable": "values_list",
    "FlatValuesListIterable": "values_list",
}
# These put an order into the query themselves.
_ORDERED_BY_METHOD = {"first": ("pk",), "last": ("-pk",)}
_ORDERING = frozenset(("latest", "earliest"))
_CUTTING = frozenset(("get", "first", "last", "latest", "earliest", "exists", "__getitem__"))


def read(queryset: Any, query: Any, manager: Any, method: str) -> tuple[str, ...]:
    """The calls that make it, in the order one writes them: `.order_by("-created")`."""
    found = dict(_calls(queryset, query, method))
    if not found or manager is None:
        return tuple(found.values())
    own = words_of(manager)
    # What turns an order round, and what its method brings along, is no manager's.
    if not query.standard_ordering or method in _ORDERING:
        own = own - {"order_by"}
    return tuple(text for name, text in found.items() if name not in own)


def _calls(queryset: Any, query: Any, method: str) -> Iterator[tuple[str, str]]:
    if query.combinator:
        yield "union", f".{query.combinator}(...)"
    if annotations := [name for name in query.annotations if not name.startswith("_")]:
        yield "annotate", f".annotate({', '.join(f'{name}=...' for name in annotations)})"
    if order := _order(query, method):
        yield "order_by", f".order_by({order})"
    elif not query.standard_ordering:
        yield "reverse", ".reverse()"
    # Others' ones make objects (django-model-utils: of the subclass).
    if name := _VALUES.get(queryset._iterable_class.__name__):
        yield name, f".{name}({_quoted(query.values_select)})"
    names, is_deferred = query.deferred_loading
    if names:
        yield ("defer" if is_deferred else "only"), f".{'defer' if is_deferred else 'only'}({_quoted(sorted(names))})"
    if query.distinct:
        yield "distinct", ".distinct()"
    if query.select_related:
        found = query.select_related
        yield "select_related", f".select_related({_quoted(_paths(found)) if type(found) is dict else ''})"
    if lookups := queryset._prefetch_related_lookups:
        names = [each for each in lookups if type(each) is str]
        yield "prefetch_related", f".prefetch_related({_quoted(names) or '...'})"
    if (query.low_mark or query.high_mark is not None) and method not in _CUTTING:
        yield "slice", f"[{query.low_mark or ''}:{'' if query.high_mark is None else query.high_mark}]"


def _order(query: Any, method: str) -> str:
    order = query.order_by or query.extra_order_by
    if _ORDERED_BY_METHOD.get(method) == tuple(order):
        return ""
    if not all(type(each) is str for each in order):
        return "..."
    if not query.standard_ordering:
        order = [each[1:] if each.startswith("-") else f"-{each}" for each in order]
    return _quoted(order)


def _paths(names: dict[str, Any]) -> Iterator[str]:
    for name, inner in names.items():
        yield from (f"{name}__{each}" for each in _paths(inner)) if inner else (name,)


def _quoted(names: Any) -> str:
    return ", ".join(f'"{name}"' for name in names)


def is_by_key(query: Any) -> bool:
    """Whether it is ordered by its key alone, as first() and last() do where there is no other order."""
    return tuple(query.order_by) in _ORDERED_BY_METHOD.values()


def words_of(manager: Any) -> frozenset[str]:
    """What the code of a manager's get_queryset() names, and of what it calls of its own and its querysets'."""
    kinds = [kind for kind in type(manager).__mro__ if not kind.__module__.startswith("django.")]
    # `from_queryset` and `as_manager` keep the class of the querysets here.
    querysets = getattr(manager, "_queryset_class", None)
    if type(querysets) is type and is_queryset(querysets):
        kinds += [kind for kind in querysets.__mro__ if not kind.__module__.startswith("django.")]
    wanted, found, left = ["get_queryset"], set[str](), _MAX_CODES
    while wanted and left:
        name, left = wanted.pop(), left - 1
        for kind in kinds:
            code = getattr(kind.__dict__.get(name), "__code__", None)
            if type(code) is CodeType:
                wanted += [each for each in code.co_names if each not in found]
                found.update(code.co_names)
                # Names of keyword arguments: `filter(is_deleted=False)`.
                found.update(*[each for each in code.co_consts if type(each) is tuple])
    return frozenset(each for each in found if type(each) is str)
