"""How to write many rows at once, in the words of Django's documentation and with the model's own names."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from clew.detectors.snippets import manager_of

_MAX_FIELDS = 4
_SET = re.compile(r"\bSET\b(.*?)(?:\bWHERE\b|$)", re.IGNORECASE | re.DOTALL)
_ASSIGNED = re.compile(r"(?<!\.)[\"`\[](\w+)[\"`\]] = ")
_COLUMN = re.compile(r"[\"`\[]\w+[\"`\]]")
_SIGNALS = "; bulk methods call neither save() nor the pre_save and post_save receivers"
_KNOWN = ("INSERT", "UPDATE", "DELETE", "many", "get_or_create", "update_or_create")


@dataclass(frozen=True)
class Write:
    """How rows are written one by one.

    Args:
        how: INSERT, UPDATE, DELETE, the method of an upsert, `many` for a many-to-many relation, else raw SQL.
        model: the class they are of, None where it is not known.
        text: the statement.
        table: where no model is known, what to call it.
        held: the arguments of an upsert: `kwargs` and `defaults`.
    """

    how: str
    model: Any
    text: str
    table: str
    held: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The model's name."""
        return getattr(self.model, "__name__", "") or self.table


def fix(write: Write) -> str:
    """The fix, as code."""
    if write.how not in _KNOWN or write.model is None:
        return "cursor.executemany(sql, rows), or one statement for all rows"
    objects = manager_of(write.model)
    if write.how == "DELETE":
        return f"delete them at once: {objects}.filter(pk__in=[...]).delete()"
    if write.how == "many":
        return (
            ".set() and .add() take many objects at once; for many owners:"
            f" {_relation(write.model)}.objects.bulk_create([...])"
        )
    if write.how == "INSERT":
        return f"build the objects and save them at once: {objects}.bulk_create([...]){_SIGNALS}"
    if write.how == "UPDATE":
        return _updated(write, objects) + _SIGNALS
    return _upserted(write, objects) + _SIGNALS


def _relation(through: Any) -> str:
    owner = through._meta.auto_created
    for each in owner._meta.many_to_many:
        if each.remote_field.through is through:
            return f"{owner.__name__}.{each.name}.through"
    return str(through.__name__)


def _updated(write: Write, objects: str) -> str:
    assigned = _SET.search(write.text)
    said = assigned[1] if assigned else ""
    columns = _ASSIGNED.findall(said)
    names = [each.name for each in write.model._meta.concrete_fields if each.column in columns]
    if len(_COLUMN.findall(said)) > len(columns):  # computed from what the row has
        values = ", ".join(f"{name}=..." for name in names)
        return f"update them at once, with the same F() expressions: {objects}.filter(pk__in=[...]).update({values})"
    shown = ", ".join(f'"{name}"' for name in names) if len(names) <= _MAX_FIELDS else "..."
    return (
        f"change the objects and save them at once: {objects}.bulk_update([...], [{shown}]); or, where they"
        f" get the same or a computed value, one {objects}.filter(...).update(...)"
    )


def _upserted(write: Write, objects: str) -> str:
    lookups, defaults = (_names(write.held.get(name)) for name in ("kwargs", "defaults"))
    if not _is_unique(write.model, lookups):
        return f"look all up with one {objects}.filter(...), and create the others with {objects}.bulk_create([...])"
    if write.how == "get_or_create":
        by = f"{lookups[0]}__in=[...]" if len(lookups) == 1 else "..."
        return f"{objects}.bulk_create([...], ignore_conflicts=True), then look all up with one {objects}.filter({by})"
    unique, update = (", ".join(f'"{name}"' for name in names) for names in (lookups, defaults))
    return (
        f"{objects}.bulk_create([...], update_conflicts=True, unique_fields=[{unique}], update_fields=[{update}])"
        " (MySQL: without unique_fields)"
    )


def _names(held: Any) -> list[str]:
    return [name for name in held if type(name) is str] if type(held) is dict else []


def _is_unique(model: Any, names: list[str]) -> bool:
    """Whether the database refuses a second row with the same values of these fields."""
    opts = model._meta
    fields = {each.name: each for each in opts.concrete_fields}
    if not names or not set(names) <= set(fields):
        return False
    if len(names) == 1 and fields[names[0]].unique:
        return True
    constraints = [set(each) for each in opts.unique_together]
    constraints += [set(each.fields) for each in opts.total_unique_constraints]
    return set(names) in constraints
