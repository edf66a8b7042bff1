"""An error of clew's own is logged once for its place, and is not the application's; a signal's is."""

from __future__ import annotations

import signal

import pytest

from clew.engine import isolation


@pytest.fixture(autouse=True)
def as_in_a_site(monkeypatch):
    monkeypatch.setattr(isolation, "is_strict", False)
    monkeypatch.setattr(isolation, "_reported", set())


def test_once_for_each_place_and_class(caplog):
    for where, error in (("a", ValueError("1")), ("a", ValueError("2")), ("a", KeyError("3")), ("b", ValueError("4"))):
        isolation.report(error, where)
    assert [record.args[0] for record in caplog.records] == ["a", "a", "b"]
    assert all("the application is not affected" in record.getMessage() for record in caplog.records)


def test_a_line_is_said_once(caplog):
    for line in ("one", "one", "two"):
        isolation.warn(line)
    assert caplog.messages == ["one", "two"]


def test_clews_own_tests_fail_of_it(monkeypatch):
    monkeypatch.setattr(isolation, "is_strict", True)
    with pytest.raises(ValueError, match="ours"):
        isolation.report(ValueError("ours"), "a")


def test_what_a_signals_handler_of_the_application_raises_is_the_applications(caplog):
    def out_of_time(number, frame):
        raise TimeoutError("a limit of the application's own")

    before = signal.signal(signal.SIGUSR1, out_of_time)
    try:
        signal.raise_signal(signal.SIGUSR1)
    except TimeoutError as error:
        with pytest.raises(TimeoutError):
            isolation.report(error, "a")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert caplog.records == []
