"""`process.memory.delta`, read from this Linux' own /proc."""

from __future__ import annotations

import os
import sys

import pytest

from clew.seams.celery.memory import SEAM
from clew.story import memory
from clew.testing import tracing
from tests.detectors import troubles

DELTA = "process.memory.delta"
MIB = 1 << 20
pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="no /proc")


@pytest.fixture(autouse=True)
def _reset():
    yield
    troubles.kept.clear()
    memory.close()
    memory.State.is_there = True


@pytest.fixture
def grow(eager):
    @eager.task(name="grow", shared=False)
    def grow(size):
        troubles.kept.append(troubles._touched(size))

    return grow


def test_a_run_says_how_much_memory_the_process_has_gained(trace, grow):
    grow.delay(64 * MIB)
    assert 60 * MIB < trace.named("run/grow").attributes[DELTA] < 70 * MIB


def test_what_is_given_back_is_negative(trace, eager, grow):
    @eager.task(name="shrink", shared=False)
    def shrink():
        troubles.kept.clear()

    grow.delay(64 * MIB)
    shrink.delay()
    assert trace.named("run/shrink").attributes[DELTA] < -60 * MIB


def test_an_eager_run_inside_a_run_has_its_own(trace, eager, grow):
    @eager.task(name="outer", shared=False)
    def outer():
        troubles.kept.append(troubles._touched(64 * MIB))
        grow.delay(64 * MIB)

    outer.delay()
    assert trace.named("run/outer").attributes[DELTA] > 120 * MIB
    assert trace.named("run/grow").attributes[DELTA] < 70 * MIB


def test_a_child_reads_its_own_memory():
    parents, (reading, writing) = memory.resident_bytes(), os.pipe()
    pid = os.fork()
    if not pid:
        troubles.kept.append(troubles._touched(128 * MIB))  # of its parent, a child has only what it has touched
        os.write(writing, str(memory.resident_bytes()).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert int(os.read(reading, 100)) > parents + 32 * MIB
    assert abs(memory.resident_bytes() - parents) < 32 * MIB
    os.close(reading)
    os.close(writing)


def test_a_file_that_was_closed_is_opened_again():
    assert memory.resident_bytes()
    os.close(memory.State.fd)
    assert memory.resident_bytes()


def test_a_file_that_has_our_number_is_neither_read_nor_closed(tmp_path):
    """A program that makes itself a daemon closes every file, and opens its own."""
    assert memory.resident_bytes()
    (tmp_path / "theirs").write_text("1 2 3")
    with (tmp_path / "theirs").open("rb") as theirs:
        ours = os.dup(memory.State.fd)
        number = memory.State.fd
        os.dup2(theirs.fileno(), number)
        memory.close()
        assert os.pread(number, 5, 0) == b"1 2 3"
        memory.State.fd = number
        assert memory.resident_bytes() > MIB
        assert memory.State.fd != number
        os.close(number)
        os.close(ours)


def test_without_proc_nothing_is_said(trace, grow, monkeypatch):
    memory.close()
    monkeypatch.setattr(memory, "_PATH", "/nowhere/statm")
    grow.delay(MIB)
    assert DELTA not in trace.named("run/grow").attributes
    assert memory.State.is_there is False


def test_switched_off_or_undone_no_file_is_open(grow):
    with tracing(celery_memory=False) as trace:
        grow.delay(MIB)
        assert DELTA not in trace.named("run/grow").attributes
    with tracing():
        grow.delay(MIB)
        assert memory.State.fd >= 0
    assert memory.State.fd == -1
    assert not SEAM.is_installed


def test_two_readings_cost_microseconds():
    """The file is kept open; the number of system calls says so on every machine."""
    calls = []
    memory.resident_bytes()
    sys.setprofile(lambda frame, event, called: calls.append(called.__name__) if event == "c_call" else None)
    memory.resident_bytes()
    sys.setprofile(None)
    assert [each for each in calls if each != "setprofile"] == ["pread", "split", "len"]
