from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import clew.cli
from clew.settings import FIELDS

RUN = "import sys; from clew.cli import main; sys.exit(main())"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith("CLEW_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)


def run(*options, **variables):
    command = [sys.executable, "-c", RUN, "settings", *options]
    env = {**os.environ, **variables}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env)


def settings(capsys):
    code = clew.cli.main(["settings", "--json"])
    said = json.loads(capsys.readouterr().out)
    return code, {row["name"]: row for row in said["settings"]}, said["problems"]


def test_every_setting_has_a_line_with_all_there_is_to_say(capsys):
    assert clew.cli.main(["settings"]) == 0
    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading.split() == ["setting", "value", "from", "environment", "description"]
    assert [line.split()[0] for line in lines] == list(FIELDS)
    found = next(line for line in lines if line.startswith("task_parent "))
    assert found.split()[:4] == ["task_parent", "parent", "default", "CLEW_TASK_PARENT"]
    assert FIELDS["task_parent"].metadata["doc"] in found


def test_where_a_value_came_from(capsys, monkeypatch):
    monkeypatch.setenv("CLEW_TASK_PARENT", "link")
    code, found, problems = settings(capsys)
    assert (code, problems) == (0, [])
    assert (found["task_parent"]["value"], found["task_parent"]["source"]) == ("link", "environment")
    assert found["detail"]["source"] == "default"


def test_a_wrong_setting_is_one_line_and_exit_code_one(capsys, monkeypatch):
    monkeypatch.setenv("CLEW_MAX_SPANS_PER_TRACE", "many")
    monkeypatch.setenv("CLEW_TASK_PARNT", "link")
    assert clew.cli.main(["settings"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "max_spans_per_trace" in "".join(lines)
    assert "did you mean CLEW_TASK_PARENT?" in "".join(lines)


def test_django_settings_are_read_without_tracing_anything(tmp_path):
    text = "CLEW = {'DETAIL': 'all', 'TASK_PARENT': 'link'}\nfrom clew import setup_tracing\n"
    text += "handle = setup_tracing('shop', max_spans_per_trace=7)\nassert handle.provider is None\n"
    (tmp_path / "shop_settings.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", RUN, "settings", "--json", "--settings-module", "shop_settings"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "CLEW_TASK_PARENT": "parent"},
    )
    assert done.returncode == 0, done.stderr
    found = {row["name"]: (row["value"], row["source"]) for row in json.loads(done.stdout)["settings"]}
    assert found["detail"] == ("all", "settings CLEW")
    assert found["task_parent"] == ("parent", "environment")
    assert found["max_spans_per_trace"] == (7, "argument")
    assert found["service_name"] == ("shop", "argument")


def test_settings_that_refuse_to_start_are_explained(tmp_path):
    (tmp_path / "wrong_settings.py").write_text("import clew\nclew.setup_tracing(task_parnt='link')\n")
    done = run("--settings-module", "wrong_settings", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["clew: unknown setting 'task_parnt' (argument); did you mean 'task_parent'?"]


@pytest.mark.parametrize("given", [["--settings-module", "no.such"], []])
def test_settings_that_cannot_be_imported_are_one_line(given):
    done = run(*given, DJANGO_SETTINGS_MODULE="no.such")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "no.such" in done.stderr
    assert "task_parent" in done.stdout


def test_a_terminal_gets_the_description_under_the_setting(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    assert clew.cli.main(["settings"]) == 0
    lines = capsys.readouterr().out.splitlines()
    place = next(n for n, line in enumerate(lines) if line.startswith("enabled "))
    assert lines[place + 1].startswith("    false: nothing is patched")
    assert max(map(len, lines)) <= 100


def test_every_setting_that_is_no_default_can_be_shown(capsys, monkeypatch):
    given = {"QUERY_BUDGETS": "books/=5,*=100", "REDACT_NAMES": "iban,card", "IGNORED_FINDINGS": "n_plus_one"}
    for name, value in given.items():
        monkeypatch.setenv(f"CLEW_{name}", value)
    assert clew.cli.main(["settings"]) == 0
    shown = {line.split()[0]: line.split()[1] for line in capsys.readouterr().out.splitlines()}
    assert {name: shown[name.lower()] for name in given} == given


def test_a_detector_that_does_not_exist_is_one_line(capsys, monkeypatch):
    monkeypatch.setenv("CLEW_IGNORED_FINDINGS", "n_plus_two,slow_query")
    assert clew.cli.main(["settings"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "'n_plus_two'" in line
    assert "n_plus_one" in line


def test_the_settings_beside_manage_py_are_read(tmp_path):
    (tmp_path / "shop.py").write_text("CLEW = {'detail': 'all'}\n")
    (tmp_path / "manage.py").write_text("import os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop')\n")
    said = subprocess.run(
        [sys.executable, "-c", RUN, "settings", "--json"], capture_output=True, cwd=tmp_path, check=True
    )
    (detail,) = [row for row in json.loads(said.stdout)["settings"] if row["name"] == "detail"]
    assert (detail["value"], detail["source"]) == ("all", "settings CLEW")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise ValueError('password=cAnary7x')", "ValueError: password=[redacted]"),
        ("raise SystemExit('no token=cAnary7x')", "SystemExit: no token=[redacted]"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("class E(Exception):\n    def __str__(self): raise KeyError\nraise E", "E"),
        ("x = = 1", "SyntaxError: invalid syntax (raising.py, line 1)"),
    ],
)
def test_settings_that_cannot_be_imported_are_one_line_without_secrets(tmp_path, code, said):
    (tmp_path / "raising.py").write_text(code)
    done = run("--settings-module", "raising", PYTHONPATH=f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    assert done.returncode == 1
    assert done.stderr == f"clew: raising cannot be imported: {said}\n"


def test_what_settings_print_is_not_in_the_json(tmp_path):
    (tmp_path / "printing.py").write_text("print('hello')\nCLEW = {'TASK_PARENT': 'link'}")
    done = run("--settings-module", "printing", "--json", PYTHONPATH=f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    assert json.loads(done.stdout)["problems"] == []
    assert done.stderr == "hello\n"


def test_no_secret_of_a_wrong_value_is_said(capsys, monkeypatch):
    monkeypatch.setenv("CLEW_FAN_OUT", "redis://:cAnary7x@h/0")
    assert clew.cli.main(["settings"]) == 1
    assert "not 'redis://[redacted]@h/0'" in capsys.readouterr().err
