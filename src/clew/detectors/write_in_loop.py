"""`write_in_loop`: rows are inserted, updated or deleted one by one, where one statement for many would do.

We stand where a write comes again from the same place in the code; the setting's number of runs makes it a finding.
The look-up of get_or_create and update_or_create counts as well: where all rows are there already, it is all that is
run. Not found: executemany, the batches of bulk_create, bulk_update and of one .delete(), inserts of a model that
inherits from another with a table (bulk_create refuses them), sessions, caches in the database, fixtures, migrations.
False positives: rows that have to be committed one by one, so that one bad row does not undo the others.
"""

from __future__ import annotations

import functools
from types import FrameType
from typing import Any

from clew.detectors import orm_frames
from clew.detectors.orm_frames import self_of
from clew.engine import configuration
from clew.source import call_site, frames
from clew.story import findings
from clew.story.detector import Detector
from clew.story.findings import Finding
from clew.story.query import Place, Query

TYPE = "write_in_loop"
_WARNING_MS = 50
_QUERY, _DELETION = "django.db.models.query", "django.db.models.deletion"
_UPSERTS = frozenset(("get_or_create", "update_or_create"))
_MANY = ".set() and .add() take many objects at once; for many owners: {model}.objects.bulk_create([...])"
_FIXES = {
    "INSERT": "build the objects and save them at once: {model}.objects.bulk_create([...])",
    "UPDATE": "change the objects and save them at once: {model}.objects.bulk_update(objects, [fields]); or, where they"
    " get the same or a computed value, one {model}.objects.filter(...).update(...)",
    "DELETE": "delete them at once: {model}.objects.filter(pk__in=[...]).delete()",
    "upsert": "look all up with one filter(...__in=[...]) or in_bulk(), and create the others with"
    " {model}.objects.bulk_create([...], ignore_conflicts=True) or update_conflicts=True",
    "raw": "cursor.executemany(sql, rows), or one statement for all rows",
}
_SIGNALS = "; bulk methods call neither save() nor the pre_save and post_save receivers"


def _on_repeat(query: Query, place: Place) -> None:
    if place.count != configuration.settings.write_in_loop_threshold:
        return
    statement = query.statement
    if query.is_many or not (statement.is_write or statement.is_select):
        return
    write = _classify(query)
    if write is not None:
        _report(query, place, *write)


def _classify(query: Query) -> tuple[str, str] | None:
    """How it is written, and which model; None: it is to be left alone."""
    operation = query.statement.operation
    how, model = "raw" if query.statement.is_write else "", None
    for frame in call_site.stack(query.frame):
        module, name = frame.f_globals.get("__name__", ""), frame.f_code.co_name
        if module.startswith(orm_frames.SYSTEM) or _is_batch(module, name, frame, query):
            return None
        if module.startswith("django.db.models."):
            model = _model_of(self_of(frame), model)
            if query.statement.is_write and how == "raw":
                how = operation
            if name in _UPSERTS:
                how = "upsert"
        if frames.kind_of(frame) in _STOPS:
            break
    # bulk_create refuses what has a parent's table.
    if not how or (how == "INSERT" and _has_parent_table(model)):
        return None
    # Rows of a table Django made for a many-to-many relation.
    through = getattr(getattr(model, "_meta", None), "auto_created", False) and how == "INSERT"
    return ("many" if through else how), _label(model, query)


_STOPS = frozenset(
    (frames.APPLICATION, frames.TEMPLATE_NODE, frames.JINJA, frames.SIGNAL, frames.VIEW, frames.TASK, frames.OUTSIDE)
)


def _is_batch(module: str, name: str, frame: FrameType, query: Query) -> bool:
    """Whether one call of the application's makes several statements, or one for many rows."""
    if module == _QUERY and name == "_batched_insert":
        objs: Any = frame.f_locals.get("objs")
        return type(objs) not in (list, tuple) or len(objs) > 1
    if module == _QUERY and name == "bulk_update":
        return True
    if module == _DELETION and name == "delete":
        # Which of several classes of objects is deleted, or a batch of one class, says the collector.
        return type(query.params) in (list, tuple) and len(query.params) > 1
    return False


def _model_of(owner: Any, known: Any) -> Any:
    kind = type(owner)
    # An object knows better than the queryset of the parent's table that writes a part of it.
    if orm_frames.is_model(kind):
        return kind
    if known is None and (orm_frames.is_queryset(kind) or orm_frames.is_manager(kind)):
        return owner.__dict__.get("model")
    return known


def _has_parent_table(model: Any) -> bool:
    return bool(getattr(getattr(model, "_meta", None), "parents", None))


def _label(model: Any, query: Query) -> str:
    return getattr(model, "__name__", "") or query.statement.collection or "Model"


def _report(query: Query, place: Place, how: str, model: str) -> None:
    fix = (_MANY if how == "many" else _FIXES.get(how, _FIXES["raw"])).format(model=model)
    if how in ("INSERT", "UPDATE", "upsert"):
        fix += _SIGNALS
    evidence = {"query_count": place.count, "duration_ms": 0.0, "model": model, "query": query.statement.summary}
    refresh = functools.partial(_put_into_words, place, how, model)
    finding = Finding(TYPE, "", fix, query.site, evidence, refresh=refresh)
    # get_or_create is a SELECT and an INSERT, an inherited model two writes, from one line.
    if findings.report(query.local, finding, (TYPE, str(query.site))):
        query.findings.append(finding)


def _put_into_words(place: Place, how: str, model: str, finding: Finding) -> None:
    total = round(place.duration_ns / 1e6, 3)
    finding.evidence["query_count"], finding.evidence["duration_ms"] = place.count, total
    finding.severity = findings.WARNING if total >= _WARNING_MS else findings.INFORMATION
    doing = "looked up or created" if how == "upsert" else _DONE.get(place.repeats.statement.operation, "written")
    finding.message = f"{model} rows were {doing} one by one: {place.count} statements, {total:g} ms"


_DONE = {"INSERT": "inserted", "UPDATE": "updated", "DELETE": "deleted"}

DETECTOR = Detector(
    TYPE,
    doc="Rows inserted, updated or deleted one by one: `write_in_loop_threshold` statements from one place in the code;"
    " get_or_create and update_or_create in a loop.",
    fix="`bulk_create`, `bulk_update`, `queryset.update()`, `queryset.delete()`, `executemany`.",
    not_found="Batches of bulk methods and of one `.delete()`, `executemany`, inserts into models with a parent's"
    " table, sessions, database caches, fixtures, migrations.",
    on_repeat=_on_repeat,
)
