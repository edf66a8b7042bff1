"""Where a setting comes from, and what is said of one that cannot be used."""

from __future__ import annotations

import dataclasses

import pytest

import clew
from clew.settings import FIELDS, TYPES, Settings, resolve

NAMES = tuple[str, ...]


class Unreadable:
    """What a typo in a project's settings may leave there."""

    def _raises(self, *_):
        raise RuntimeError("not for reading")

    __repr__ = __str__ = __iter__ = __bool__ = __int__ = __float__ = _raises


def test_argument_wins_over_environment_over_django_over_default(monkeypatch):
    django = {"TASK_PARENT": "link", "DETAIL": "all", "max_spans_per_trace": 5}
    monkeypatch.setenv("CLEW_DETAIL", "default")
    monkeypatch.setenv("CLEW_FLUSH_TIMEOUT_MS", "100")
    found = resolve({"flush_timeout_ms": 7}, django)
    assert (found.settings.task_parent, found.sources["task_parent"]) == ("link", "settings CLEW")
    assert (found.settings.detail, found.sources["detail"]) == ("default", "environment")
    assert (found.settings.flush_timeout_ms, found.sources["flush_timeout_ms"]) == (7, "argument")
    assert (found.settings.max_spans_per_trace, found.sources["enabled"]) == (5, "default")
    assert found.problems == ()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("enabled", "off", False),
        ("enabled", " TRUE ", True),
        ("resolve_threshold_ms", "2.5", 2.5),
        ("redact_names", "iban, tax_id", ("iban", "tax_id")),
        ("task_parent", "link", "link"),
        ("django_view", "0", False),
    ],
)
def test_environment_is_read_as_the_type_of_the_field(monkeypatch, name, text, value):
    monkeypatch.setenv(f"CLEW_{name.upper()}", text)
    assert getattr(resolve({}).settings, name) == value


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"task_parnt": "link"}, "clew: unknown setting 'task_parnt' (argument); did you mean 'task_parent'?"),
        ({"zzz": 1}, "clew: unknown setting 'zzz' (argument); `clew settings` lists them"),
        ({"detail": "al"}, "clew: setting 'detail' (argument) must be 'default' or 'all', not 'al'"),
        ({"enabled": "perhaps"}, "clew: setting 'enabled' (argument) must be true or false, not 'perhaps'"),
        (
            {"max_spans_per_trace": -1},
            "clew: setting 'max_spans_per_trace' (argument) must be a whole number, 0 or more",
        ),
        ({"max_spans_per_trace": True}, "must be a whole number, 0 or more, not True"),
        (
            {"fan_out": Unreadable()},
            "clew: setting 'fan_out' (argument) must be a whole number, 0 or more, not a value",
        ),
        ({"service_name": Unreadable()}, "must be a string, not a value of Unreadable"),
        ({"ignored_findings": Unreadable()}, "must be a list of names, not a value of Unreadable"),
        ({"task_parent": Unreadable()}, "must be 'parent' or 'link', not a value of Unreadable"),
        ({"resolve_threshold_ms": "nan"}, "must be a number, 0 or more, not 'nan'"),
        ({"redact_names": [1]}, "must be a list of names, not [1]"),
        ({"service_name": 5}, "must be a string, not 5"),
    ],
)
def test_what_cannot_be_used_is_one_clear_line(given, line):
    (problem,) = resolve(given).problems
    assert line in problem
    assert "\n" not in problem
    with pytest.raises(clew.SettingsError, match="clew: "):
        clew.setup_tracing(**given)


def test_unknown_environment_variable_is_named(monkeypatch):
    monkeypatch.setenv("CLEW_TASK_PARNT", "link")
    assert resolve({}).problems == (
        "clew: unknown environment variable CLEW_TASK_PARNT; did you mean CLEW_TASK_PARENT?",
    )


def test_django_setting_of_the_wrong_kind():
    found = resolve({}, ["DETAIL"])
    assert found.problems == ("clew: settings.CLEW must be a dictionary, not list; it is ignored",)


def test_settings_are_frozen_and_described():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().enabled = False
    assert all(field.metadata["doc"] for field in FIELDS.values())


def test_every_seam_is_a_switch():
    from clew.seams import SEAMS

    assert {name.replace(".", "_") for name in SEAMS} <= set(FIELDS)


@pytest.mark.parametrize(
    "wrong", [None, [1], b"x", "~", float("nan"), -1, object(), Unreadable(), {"a": "b"}], ids=type
)
def test_a_wrong_value_of_any_setting_leaves_its_default_and_is_named(wrong):
    defaults = Settings()
    for name in FIELDS:
        found = resolve({}, {name.upper(): wrong})
        takes_it = wrong == "~" and TYPES[name] in (str, NAMES)
        assert len(found.problems) == (0 if takes_it else 1)
        for line in found.problems:
            assert line.startswith(f"clew: setting {name!r} (settings CLEW) must be ")
            assert line.isprintable()
            assert getattr(found.settings, name) == getattr(defaults, name)


@pytest.mark.parametrize("key", [3, None, "", ("a",), Unreadable()], ids=type)
def test_a_key_that_is_no_name_is_an_unknown_setting(key):
    (line,) = resolve({}, {key: 1}).problems
    assert "unknown setting" in line
