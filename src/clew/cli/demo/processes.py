"""The demo's processes: how each becomes what it is, is started, watched, and ended whatever happens.

Each runs in a session of its own, so that Ctrl-C reaches the demo alone and the demo ends them in order. On Linux
the kernel ends them too when the demo itself is killed; elsewhere a `kill -9` of the demo leaves them running.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

READY = "clew demo: ready"
_LEASH = "CLEW_DEMO_LEASH"
_START_SECONDS = 90.0
_STOP_SECONDS = 1.5
_LOOK_SECONDS = 0.05
_TAIL_LINES = 8
_PR_SET_PDEATHSIG = 1

# What the script `opentelemetry-instrument` does; the script itself cannot be started from a path with spaces.
_INSTRUMENT = "from opentelemetry.instrumentation.auto_instrumentation import run; run()"
_APP = "clew.cli.demo_site.celery_app"


class DemoError(Exception):
    """The demo cannot go on; the message is for the terminal."""


def command(name: str, host: str, port: int) -> list[str]:
    """What Python runs for a process.

    Args:
        name: web, live, worker or beat.
        host: where the site listens.
        port: on which port; 0 takes a free one.
    """
    if name in ("web", "live"):
        module = "clew.cli.demo_site.serve" if name == "web" else "clew.cli.demo_site.live"
        return ["-m", module, "--host", host, "--port", str(port)]
    celery = ["-m", "celery", "-A", _APP, name, "-l", "INFO"]
    if name == "beat":
        return celery
    # It is the only worker: to look for others costs a second.
    return [*celery, "-P", "prefork", "-c", "2", "--without-gossip", "--without-mingle"]


def become(name: str, host: str, port: int) -> None:
    """Replace this process by one of the demo's, under `opentelemetry-instrument`; does not return."""
    _put_on_leash()
    os.environ.setdefault("OTEL_SERVICE_NAME", f"demo-{name}")
    os.environ.setdefault("OTEL_PYTHON_DJANGO_EXCLUDED_URLS", "healthz")
    os.environ["DJANGO_SETTINGS_MODULE"] = "clew.cli.demo_site.settings"
    sys.stdout.flush()
    python = sys.executable
    os.execv(python, [python, "-c", _INSTRUMENT, python, *command(name, host, port)])


def _put_on_leash() -> None:
    parent = os.environ.get(_LEASH)
    if parent is None:
        return
    if sys.platform == "linux":
        # Set here and not between fork and exec, where threads make it unsafe; it outlives the exec.
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    # It may have died before it could be followed.
    if os.getppid() != int(parent):
        sys.exit("the demo has ended")


class DemoProcess:
    """A process of the demo.

    Args:
        name: web, live or worker.
        folder: gets its output.
        environment: its whole environment.
        interrupts: holds signals back while the process is asked how it is.
        port: the site's port.
    """

    def __init__(
        self, name: str, folder: Path, environment: Mapping[str, str], interrupts: Interrupts, port: int = 0
    ) -> None:
        self.name = name
        self._interrupts = interrupts
        self._log = folder / f"{name}.log"
        main = "import sys; from clew.cli import main; sys.exit(main())"
        arguments = ["demo", name] + (["--port", str(port)] if name == "web" else [])
        # Not by the script `clew`, which a PATH or a path with spaces may hide.
        with self._log.open("wb") as log:
            self._popen = subprocess.Popen(
                [sys.executable, "-c", main, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**environment, _LEASH: str(os.getpid())},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id, which is its group's too."""
        return self._popen.pid

    def wait_until_ready(self, seconds: float = _START_SECONDS) -> str:
        """Wait for the line in which it says that it is ready.

        Returns:
            What follows on that line: the site's URL.

        Raises:
            DemoError: it has ended, or takes too long; its last lines are in the message.
        """
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            _, found, rest = self.output().rpartition(READY)
            # Without its end, the line may be half written.
            if found and "\n" in rest:
                return rest.partition("\n")[0].strip()
            self.check()
            time.sleep(_LOOK_SECONDS)
        raise DemoError(f"the {self.name} process is not ready after {seconds:g} s{self.tail()}")

    def check(self) -> None:
        """Raise a `DemoError` with its last lines if it has ended."""
        # An exception in the middle of `poll` may leave its lock locked, and `stop` would wait for that for ever.
        with self._interrupts.shield():
            code = self._popen.poll()
        if code is not None:
            how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
            raise DemoError(f"the {self.name} process has ended {how}{self.tail()}")

    def output(self) -> str:
        """All it has written."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def tail(self) -> str:
        """Its last lines, ready to be appended to a sentence."""
        lines = [line.rstrip() for line in self.output().splitlines() if line.strip()][-_TAIL_LINES:]
        return "; its last lines:" + "".join(f"\n    {line}" for line in lines) if lines else "; it wrote nothing"

    def complaints(self) -> list[str]:
        """What clew had to say in it, the last lines."""
        return [line.strip() for line in self.output().splitlines() if " clew: " in f" {line}"][-_TAIL_LINES:]

    def ask_to_stop(self) -> None:
        """Send SIGTERM to it, and not to its children: a worker ends those itself."""
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGTERM)

    def stop(self, seconds: float) -> None:
        """Wait for its end, then end whatever is left of its group."""
        try:
            self._popen.wait(max(seconds, 0))
        except subprocess.TimeoutExpired:
            pass
        # Also when it has ended: the children of a worker that was killed live on.
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        except PermissionError:
            # macOS says so of a group whose last process is a zombie.
            self._popen.kill()
        self._popen.wait()


def stop_all(processes: list[DemoProcess], seconds: float = _STOP_SECONDS) -> None:
    """End the processes, gently at first.

    Args:
        processes: to end; those that have ended are taken out.
        seconds: what they get to end by themselves, together.
    """
    until = time.monotonic() + seconds
    for process in processes:
        process.ask_to_stop()
    while processes:
        processes[-1].stop(until - time.monotonic())
        processes.pop()


class Interrupts:
    """Ctrl-C, SIGTERM and SIGHUP as an exception: one, and not in the middle of what must not be done by half.

    Only the first signal raises, so what it kept from being begun can be begun again.
    """

    _SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self._is_shielded = self._has_raised = False
        self._waiting = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        for number in self._SIGNALS:
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def shield(self) -> Iterator[None]:
        """Hold signals back until the block has ended."""
        self._is_shielded = True
        try:
            yield
        finally:
            self._is_shielded = False
        if self._waiting:
            self._raise(self._waiting)

    def _on_signal(self, number: int, _: object) -> None:
        if self._has_raised:
            return
        if self._is_shielded:
            self._waiting = number
        else:
            self._raise(number)

    def _raise(self, number: int) -> None:
        self._has_raised, self._waiting = True, 0
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)
