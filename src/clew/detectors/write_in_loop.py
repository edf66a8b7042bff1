"""`write_in_loop`: rows are inserted, updated or deleted one by one, where one statement for many would do.

We stand where a write comes again from the same place in the code; the setting's number of ROWS makes it a finding
(written_rows.py). The look-up of get_or_create and update_or_create counts as well: where all rows are there already,
it is all that is run. Not found: one row's progress, chunks, queues, trees, executemany, the batches of bulk_create,
bulk_update and of one .delete(), inserts of a model that inherits from another with a table (bulk_create refuses them),
sessions, caches in the database, fixtures, migrations. False positives: rows that have to be committed one by one, so
that one bad row does not undo the others.
"""

from __future__ import annotations

import functools
from types import FrameType
from typing import Any

from clew.detectors import orm_frames, scan, walks, write_remedy, written_rows
from clew.detectors.orm_frames import self_of
from clew.detectors.write_remedy import Write
from clew.detectors.written_rows import Rows
from clew.engine import configuration, needs
from clew.source import frames
from clew.source.stack import stack
from clew.story import findings
from clew.story.detector import SETTLED, Detector
from clew.story.findings import Finding
from clew.story.queries import Place
from clew.story.query import Query

TYPE = "write_in_loop"
_WARNING_MS = 50
_QUERY, _DELETION = "django.db.models.query", "django.db.models.deletion"
needs.declare(
    __name__,
    *needs.inside(_QUERY, "QuerySet.get_or_create", "defaults", "kwargs"),
    *needs.inside(_QUERY, "QuerySet.update_or_create", "defaults", "kwargs"),
    *needs.attributes(_DELETION, "Collector", "origin"),
    consequence="write_in_loop does not name the fields of get_or_create and update_or_create, nor whose objects"
    " a queryset deletes",
)
_UPSERTS = frozenset(("get_or_create", "update_or_create"))


def _on_repeat(query: Query, place: Place) -> bool:
    statement, threshold = query.statement, configuration.settings.write_in_loop_threshold
    if query.is_many or not (statement.is_write or statement.is_select):
        return SETTLED
    if statement.is_write:
        rows: Rows | None = place.memo.get(TYPE)
        if rows is None:
            rows = place.memo[TYPE] = Rows(place)
        if rows.is_over or not rows.add(query, place, threshold):
            return rows.is_over
        rows.is_over = True
    else:
        may_be_upsert: bool | None = place.memo.get(TYPE)
        if may_be_upsert is None:
            may_be_upsert = place.memo[TYPE] = _is_in_upsert(query)
        if not may_be_upsert or place.count != threshold:
            return not may_be_upsert or place.count > threshold
    write = _classify(query)
    if write is not None and not scan.is_queue(query, place):
        _report(query, place, write)
    return SETTLED


def _is_in_upsert(query: Query) -> bool:
    """Whether it may be the look-up of get_or_create: every run from its place is one, or none."""
    for frame in stack(query.frame):
        if frame.f_code.co_name in _UPSERTS:
            return True
        if frames.kind_of(frame) in _STOPS:
            return False
    return False


def _classify(query: Query) -> Write | None:
    """How it is written, and which model; None: it is to be left alone."""
    statement = query.statement
    how, model, held, is_tree = "raw" if statement.is_write else "", None, {}, False
    for frame in stack(query.frame):
        module, name = frame.f_globals.get("__name__", ""), frame.f_code.co_name
        if module.startswith(orm_frames.SYSTEM) or _is_batch(module, name, frame, query):
            return None
        if module.startswith("django.db.models."):
            owner = self_of(frame)
            # Whose objects are deleted, and not the rows that go with them.
            deleted = owner.__dict__.get("origin") if module == _DELETION and name == "delete" else None
            model = _model_of(owner if deleted is None else deleted, None if deleted is not None else model)
            is_tree = is_tree or written_rows.is_of_a_tree(owner)
            if statement.is_write and how == "raw":
                how = statement.operation
            if name in _UPSERTS:
                how, held = name, {key: frame.f_locals.get(key) for key in ("kwargs", "defaults")}
        if frames.kind_of(frame) in _STOPS:
            break
    # bulk_create refuses what has a parent's table, and rows of a tree need their parents' keys.
    if not how or (how == "INSERT" and (_has_parent_table(model) or is_tree)):
        return None
    # Rows of a table Django made for a many-to-many relation.
    through = getattr(getattr(model, "_meta", None), "auto_created", False) and how == "INSERT"
    return Write("many" if through else how, model, statement.text, statement.collection or "Model", held)


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


def _report(query: Query, place: Place, write: Write) -> None:
    evidence = {"query_count": place.count, "duration_ms": 0.0, "model": write.label, "query": query.statement.summary}
    refresh = functools.partial(_put_into_words, place, write)
    finding = Finding(TYPE, "", write_remedy.fix(write), query.site, evidence, refresh=refresh)
    finding.loops = walks.loops_around(query.frame)
    # get_or_create is a SELECT and an INSERT, an inherited model two writes, from one line.
    query.report(finding, (TYPE, str(query.site)))


def _put_into_words(place: Place, write: Write, finding: Finding) -> None:
    total = round(place.duration_ns / 1e6, 3)
    finding.evidence["query_count"], finding.evidence["duration_ms"] = place.count, total
    finding.severity = findings.WARNING if total >= _WARNING_MS else findings.INFORMATION
    is_upsert = write.how in _UPSERTS
    doing = "looked up or created" if is_upsert else _DONE.get(place.repeats.statement.operation, "written")
    finding.message = f"{write.label} rows were {doing} one by one: {place.count} statements, {total:g} ms"


_DONE = {"INSERT": "inserted", "UPDATE": "updated", "DELETE": "deleted"}

DETECTOR = Detector(
    TYPE,
    doc="Rows inserted, updated or deleted one by one: `write_in_loop_threshold` rows from one place in the code;"
    " get_or_create and update_or_create in a loop.",
    fix="`bulk_create`, `bulk_update`, `queryset.update()`, `queryset.delete()`, `executemany`.",
    not_found="One row that is written again and again (progress, a heartbeat), chunks of many rows, queues, trees,"
    " batches of bulk methods and of one `.delete()`, `executemany`, inserts into models with a parent's"
    " table, sessions, database caches, fixtures, migrations.",
    on_repeat=_on_repeat,
)
