from __future__ import annotations

import importlib.util
import os

import pytest

from clew.cli.doctor import needs as doctor_needs
from clew.cli.doctor import seams as doctor_seams
from clew.cli.doctor.needs import look
from clew.cli.doctor.project import Project
from clew.seams import SEAMS

# What happens to a module in the process that looks, before anything of it is run.
MEDDLE = """
import os, sys, time
from importlib.machinery import SourceFileLoader

as_it_is = SourceFileLoader.exec_module

def exec_module(self, module):
    name = module.__name__
    {body}
    return as_it_is(self, module)

SourceFileLoader.exec_module = exec_module
"""
WITHOUT = """
import sys

class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {libraries}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Without())
"""

# The oldest group has none of them.
NOT_FOR_HERE = [] if importlib.util.find_spec("channels") else ["asgi.channel_layer", "asgi.http_consumer"]
NOT_FOR_HERE += [] if any(map(importlib.util.find_spec, ("gevent", "eventlet"))) else ["celery.green"]
NOT_FOR_HERE += [] if importlib.util.find_spec("graphql") else ["django.graphql"]
STANDING = len(SEAMS) - len(NOT_FOR_HERE)


@pytest.fixture
def meddle(monkeypatch, tmp_path):
    def start_with(text):
        (tmp_path / "sitecustomize.py").write_text(text)
        path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
        monkeypatch.setenv("PYTHONPATH", path)

    return start_with


def problems(found):
    return [check.text for check in doctor_needs.checks(found) if check.level == "problem"]


def test_all_is_there(monkeypatch, tmp_path):
    # Neither the project's settings nor what its directory holds is looked at.
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "no.such")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "celery.py").write_text("1 / 0")
    found = look()
    assert (found.troubles, found.seams) == ([], NOT_FOR_HERE)
    assert found.there == found.needed > 200
    (check,) = doctor_needs.checks(found)
    assert check.level == "ok"
    assert check.text.startswith(f"{found.needed} of {found.needed} names")


def test_an_import_that_ends_the_process_is_a_problem_and_the_rest_is_looked_at(meddle):
    meddle(MEDDLE.format(body="if name == 'celery.beat': os._exit(7)"))
    found = look()
    assert "celery.beat" in found.seams
    assert found.needed > 200
    assert any(
        "celery.beat cannot be imported (celery " in text and "ends the process" in text for text in problems(found)
    )


def test_an_import_that_fails_or_prints(meddle):
    meddle(MEDDLE.format(body="print('{\"found\": 1}'); 'billiard.pool' == name and sys.exit('not today')"))
    found = look()
    assert any(text.startswith("billiard.pool cannot be imported (billiard ") for text in problems(found))
    assert found.there < found.needed


def test_a_seam_that_cannot_be_imported_does_not_stand(meddle):
    meddle(MEDDLE.format(body="if name == 'clew.seams.celery.polling': raise ImportError('cannot import name x')"))
    checks = doctor_seams.check(Project())
    assert (checks[0].level, checks[0].text) == ("warning", f"{STANDING - 1} of {len(SEAMS)} would stand")
    assert any("clew.seams.celery.polling cannot be imported: ImportError" in check.text for check in checks)
    assert {check.level for check in checks if "cannot be imported" in check.text} == {"problem"}


def test_a_library_that_is_not_installed_is_no_problem(meddle):
    meddle(WITHOUT.format(libraries={"celery", "kombu", "billiard", "jinja2"}))
    checks = doctor_seams.check(Project())
    standing = sum(
        name.startswith(("django.", "asgi.")) and name not in ("django.jinja2", *NOT_FOR_HERE) for name in SEAMS
    )
    assert (checks[0].level, checks[0].text) == ("ok", f"{standing} of {len(SEAMS)} would stand")
    (needs,) = [check for check in checks if check.topic == "needs"]
    assert needs.level == "ok"
    assert "not installed, so not traced: " in needs.text
    assert "celery" in needs.text


def test_a_transport_whose_library_is_not_installed_is_no_problem(meddle):
    meddle(WITHOUT.format(libraries={"redis"}))
    found = look()
    assert found.troubles == []
    assert "redis" in found.absent
    assert "celery.consumers" not in found.seams


@pytest.mark.parametrize(
    ("variable", "said"),
    [("OTEL_PROPAGATORS", "Propagator bogus not found"), ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "COUNT_LIMIT must be")],
)
def test_a_variable_with_which_opentelemetry_cannot_be_imported_is_one_problem(monkeypatch, variable, said):
    monkeypatch.setenv(variable, "bogus")
    (text,) = problems(look())
    assert text.startswith("nothing that uses OpenTelemetry can be imported: ValueError: ")
    assert said in text


def test_a_process_that_says_nothing_is_a_problem(meddle):
    meddle("import os; os._exit(3)")
    found = look()
    assert found.seams == list(SEAMS)
    assert "ends with 3" in problems(found)[0]


def test_a_process_that_does_not_end_is_left(meddle, monkeypatch):
    monkeypatch.setattr(doctor_needs, "_TIMEOUT_S", 1.0)
    meddle("import time; time.sleep(60)")
    assert "does not end within 1 s" in problems(look())[0]
