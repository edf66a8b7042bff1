"""Ends in one way: `program.py MODE`. Every child makes one span, `work`, and so does the program where it says so."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import signal
import sys
import time
import unittest

from opentelemetry import trace


def work(*_):
    with trace.get_tracer("program").start_as_current_span("work"):
        time.sleep(0.01)


def _processes(method):
    context = multiprocessing.get_context(method)
    children = [context.Process(target=work) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()


def _work_and_wait(ready):
    work()
    ready.set()
    time.sleep(60)


def _terminated():
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    child = context.Process(target=_work_and_wait, args=(ready,))
    child.start()
    ready.wait()
    child.terminate()
    child.join()
    assert child.exitcode == -signal.SIGTERM, child.exitcode


def _pool():
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pool.map(work, range(2), chunksize=1)
        pool.close()
        pool.join()


def _executor(method):
    with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context(method)) as executor:
        list(executor.map(work, range(2)))


def _os_fork():
    work()
    pid = os.fork()
    if not pid:
        work()
        sys.exit()
    os.waitpid(pid, 0)


def _sigterm():
    work()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)


def _raise():
    work()
    raise RuntimeError("the program's")


class Case1(unittest.TestCase):
    def test_one(self):
        work()

    def test_two(self):
        work()


class Case2(Case1):
    """Two classes, since Django deals out classes."""


def _test_parallel():
    import django
    from django.conf import settings
    from django.test.runner import DiscoverRunner

    settings.configure(DATABASES={}, INSTALLED_APPS=[])
    django.setup()
    sys.path.insert(0, os.path.dirname(__file__))
    failures = DiscoverRunner(parallel=2, verbosity=0, interactive=False).run_tests(["program"])
    sys.exit(bool(failures))


MODES = {
    "process-fork": lambda: _processes("fork"),
    "process-spawn": lambda: _processes("spawn"),
    "process-terminate": _terminated,
    "pool-fork": _pool,
    "executor-fork": lambda: _executor("fork"),
    "executor-spawn": lambda: _executor("spawn"),
    "os-fork": _os_fork,
    "exit": lambda: (work(), sys.exit(3)),
    "exception": _raise,
    "sigterm": _sigterm,
    "test-parallel": _test_parallel,
}


if __name__ == "__main__":
    MODES[sys.argv[1]]()
