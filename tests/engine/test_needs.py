from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from types import ModuleType

import pytest

from clew.engine import isolation, needs
from clew.engine.needs import Need

LIBRARY = """
import functools

def plain(first, *, second=1):
    third = first.fourth
    return "fifth"

@functools.wraps(plain)
def wrapped(*args): return plain(*args)

def factory():
    class Manager:
        def __init__(self): self.held = 1
        def add(self): return self.read
    return Manager

class Kind:
    with_default = None
    def __init__(self): self.set_here = self.lazy = 1
    def look(self): return self.only_read
    @property
    def shown(self): shown_inside = 1

class Below(Kind):
    pass
"""


@pytest.fixture
def library(monkeypatch):
    module = ModuleType("library")
    exec(LIBRARY, vars(module))
    monkeypatch.setitem(sys.modules, "library", module)
    return module


@pytest.fixture
def declared(monkeypatch):
    monkeypatch.setattr(needs, "DECLARED", {})
    monkeypatch.setattr(needs, "_waited_for", set())
    monkeypatch.setattr(isolation, "_reported", set())
    return needs.declare


@pytest.mark.parametrize(
    ("need", "lacks"),
    [
        (Need("library", ""), ""),
        (Need("library", "plain"), ""),
        (Need("library", "nowhere"), "nowhere"),
        (Need("library", "Kind.look"), ""),
        (Need("library", "Below.look"), ""),
        (Need("library", "Kind.nowhere"), "Kind.nowhere"),
        (Need("library", "Nowhere.look"), "Nowhere"),
        # Each class has these of `object` and `type`.
        (Need("library", "Kind.__init__"), ""),
        (Need("library", "Kind.__call__"), "Kind.__call__"),
        (Need("library", "factory.<locals>.Manager.add"), ""),
        (Need("library", "factory.<locals>.Manager.remove"), "factory.<locals>.Manager.remove"),
        (Need("library", "factory.<locals>.Other.add"), "factory.<locals>.Other"),
        *((each, "") for each in needs.attributes("library", "Below", "set_here", "lazy", "with_default", "shown")),
        *((each, each.path) for each in needs.attributes("library", "Kind", "only_read", "nowhere")),
        *((each, "") for each in needs.attributes("library", "factory.<locals>.Manager", "held")),
        *((each, each.path) for each in needs.attributes("library", "factory.<locals>.Manager", "read")),
        *((each, "") for each in needs.inside("library", "plain", "first", "second", "third", "fourth", "fifth")),
        *((each, each.path) for each in needs.inside("library", "plain", "sixth")),
        *((each, "") for each in needs.inside("library", "wrapped", "third")),
        *((each, "") for each in needs.inside("library", "Kind.shown", "shown_inside")),
    ],
    ids=str,
)
def test_what_is_there(library, need, lacks):
    assert need.missing_part(library) == lacks
    assert need.is_met_by(library) is (not lacks)


def test_what_is_inside_a_function_that_somebody_has_replaced_is_not_missing(library):
    library.__file__ = "<string>"
    assert not Need("library", "factory.<locals>.Other.add").is_met_by(library)
    library.factory = library.plain = lambda *args: None  # as zeal does, without `functools.wraps`
    assert Need("library", "factory.<locals>.Manager.add").is_met_by(library)
    assert needs.inside("library", "plain", "first")[0].is_met_by(library)


@pytest.mark.parametrize(
    ("since", "until", "applies"),
    [("", "", True), ("6.1", "", True), ("6.2", "", False), ("", "6.1", False), ("5.0", "7", True), ("", "6.2", True)],
)
def test_versions(library, since, until, applies):
    library.__version__ = "6.1b1"
    assert Need("library", "plain", since, until).applies is applies


def test_a_lazy_object_stays_lazy(library):
    class Lazy:
        @property
        def __class__(self):
            raise AssertionError("evaluated")

        def __getattr__(self, name):
            raise AssertionError("evaluated")

    library.Kind.held = Lazy()
    assert not needs.attributes("library", "Kind", "nowhere")[0].is_met_by(library)


def test_one_line_for_what_is_missing(library, declared, caplog):
    off = []
    library.__version__ = "3.2"
    declared("clew.one", *needs.functions("library", "plain", "gone"), consequence="ones are not counted")
    switch_off = functools.partial(off.append, "two")
    declared(
        "clew.two", *needs.inside("library", "gone", "word"), consequence="twos are not told", switch_off=switch_off
    )
    declared("clew.two", *needs.functions("library", "older", until="3.0"), consequence="never said")
    needs.watch()
    needs.watch()
    assert [record.getMessage() for record in caplog.records] == [
        "clew: library.gone is not there (library 3.2); without it ones are not counted, and twos are not told"
        " (clew.one, clew.two; `clew doctor`)"
    ]
    assert set(off) == {"two"}


def test_a_module_is_looked_at_when_it_is_imported(declared, caplog, monkeypatch, tmp_path):
    (tmp_path / "late_library.py").write_text("there = 1")
    monkeypatch.syspath_prepend(tmp_path)
    declared("clew.one", *needs.functions("late_library", "there", "gone"), consequence="it is not counted")
    needs.watch()
    assert "late_library" not in sys.modules
    assert caplog.records == []
    __import__("late_library")
    assert [record.getMessage().partition(";")[0] for record in caplog.records] == [
        "clew: late_library.gone is not there (late_library)"
    ]


def test_our_own_mistake_does_not_hurt_whoever_imports(library, declared, caplog, monkeypatch):
    monkeypatch.setattr(isolation, "is_strict", False)
    library.__getattr__ = lambda name: 1 / 0
    declared("clew.one", *needs.functions("library", "gone"), consequence="")
    needs.watch()
    assert "internal error in needs of clew.one" in caplog.text


# Every need there is, its name another one, in a process with a site of its own


def rows(*words):
    command = [sys.executable, "-m", "tests.engine.needs_table", "--json", *words]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=600).stdout)


@pytest.fixture(scope="module")
def table():
    return rows()


@pytest.mark.slow
def test_every_need_under_another_name(table):
    """One line from each part of clew that needs it, nothing else said, the site works, and doctor names it."""
    wrong = [row for row in table if row.get("trouble") or not (row["absent"] or _is_right(row))]
    assert wrong == []
    assert len(table) > 200


def _is_right(row):
    parts = len(row["seams"]) + bool(row["declared"])
    said = [line for line in row["lines"] if " is not there (" in line]
    return (
        parts > 0
        and len(said) == len(row["lines"]) == parts
        and row["works"]
        and set(row["seams"]).isdisjoint(row["standing"])
        and row["doctor"]
    )


# The same in the library's own source, wherever it uses the name: as its next release may have it

RENAMES = """
import os, re
from importlib.machinery import SourceFileLoader

library, name = os.environ["RENAMED"].split(":")
as_it_is = SourceFileLoader.get_code

def get_code(self, module):
    if module.partition(".")[0] == library:
        path = self.get_filename(module)
        source = self.get_data(path).decode()
        if name in source:
            return compile(re.sub(rf"\\b{name}\\b", "renamed_upstream", source), path, "exec", dont_inherit=True)
    return as_it_is(self, module)

SourceFileLoader.get_code = get_code
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("library", "name", "module"),
    [
        ("django", "_perform_unique_checks", "django.db.models.base"),
        ("django", "_known_related_objects", "django.db.models.query"),
        ("django", "_from_testcase", "django.db.transaction"),
        ("django", "execute_sql", "django.db.models.sql.compiler"),
        ("django", "_execute_with_wrappers", "django.db.backends.utils"),
        ("celery", "_freeze_group_tasks", "celery.canvas"),
        ("celery", "_process_task", "celery.worker.worker"),
        ("billiard", "_create_worker_process", "billiard.pool"),
        ("kombu", "_create_client", "kombu.transport.redis"),
        ("jinja2", "__jinja_template__", "jinja2.environment"),
    ],
)
def test_a_release_that_calls_it_something_else(tmp_path, library, name, module):
    (tmp_path / "sitecustomize.py").write_text(RENAMES)
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    env = {**os.environ, "PYTHONPATH": path, "RENAMED": f"{library}:{name}", "OTEL_TRACES_EXPORTER": "none"}
    command = [sys.executable, "-m", "tests.engine.needs_table", "--once", module]
    site = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=env, timeout=120).stdout)
    assert site["works"]
    assert all(f"{name} is not there ({library} " in line for line in site["lines"])
    # `_from_testcase` is needed by a seam and by detectors, which say different things.
    assert len(site["lines"]) == (2 if name == "_from_testcase" else 1)

    command = [sys.executable, "-c", "import sys; from clew.cli import main; sys.exit(main())", "doctor", "--json"]
    doctor = subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path, timeout=120)
    problems = [each for each in json.loads(doctor.stdout)["checks"] if each["topic"] == "needs" and each["fix"]]
    assert doctor.returncode == 1
    assert all(f"{name} is not there ({library} " in each["text"] for each in problems)
    assert {each["level"] for each in problems} == {"problem"}
