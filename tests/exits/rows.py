"""Every way to end that a site has: how it is started, and how many spans of it must have arrived when it is over."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

BIN = Path(sys.executable).parent
WSGI, ASGI = "tests.site.wsgi", "tests.site.asgi"
MANAGE, PROGRAM = "tests/site/manage.py", "tests/exits/program.py"


@dataclass(frozen=True)
class Row:
    """One way to start and end.

    Args:
        name: for the table.
        command: after `opentelemetry-instrument`; PORT is replaced.
        needs: the distribution that must be installed.
        is_server: it is asked for pages, then told to stop; else it ends by itself.
        spans: how many must arrive.
        signals: whom SIGTERM is sent to.
        pause_s: between the last answer and the signal. A worker of uWSGI ends in the middle of a request that has
            been answered, one of granian that is still loading does not hear the signal, and the parent of Django's
            reloader ends its child by SIGKILL.
    """

    name: str
    command: tuple[str, ...]
    needs: str = ""
    is_server: bool = True
    spans: int = 4
    signals: tuple[str, ...] = ("process", "group")
    pause_s: float = 0

    def __str__(self) -> str:
        return self.name


def _gunicorn(name: str, *options: str, app: str = WSGI, needs: str = "gunicorn") -> Row:
    return Row(f"gunicorn {name}", (f"{BIN}/gunicorn", "-b", "127.0.0.1:PORT", "-w", "2", *options, app), needs)


def _server(name: str, *command: str, needs: str = "", pause_s: float = 0) -> Row:
    return Row(name, (f"{BIN}/{command[0]}", *command[1:]), needs or command[0], pause_s=pause_s)


def _program(name: str, mode: str, spans: int) -> Row:
    return Row(name, (sys.executable, PROGRAM, mode), "", False, spans, ("-",))


APP = f"{ASGI}:application"
UWSGI = ("--http-socket", "127.0.0.1:PORT", "--master", "-p", "2", "--enable-threads", "--die-on-term", "--need-app")

SERVERS = (
    _gunicorn("sync"),
    _gunicorn("gthread", "-k", "gthread", "--threads", "2"),
    _gunicorn("gevent", "-k", "gevent", needs="gevent"),
    _gunicorn("uvicorn worker", "-k", "uvicorn_worker.UvicornWorker", app=APP, needs="uvicorn-worker"),
    _gunicorn("--preload", "--preload"),
    _gunicorn("--max-requests", "--max-requests", "2"),
    _server("uvicorn", "uvicorn", "--port", "PORT", APP),
    _server(
        "uvicorn --workers", "uvicorn", "--port", "PORT", "--workers", "2", "--timeout-worker-healthcheck", "60", APP
    ),
    _server("hypercorn", "hypercorn", "-b", "127.0.0.1:PORT", APP),
    _server("hypercorn --workers", "hypercorn", "-w", "2", "-b", "127.0.0.1:PORT", APP),
    _server("daphne", "daphne", "-p", "PORT", APP),
    _server("granian asgi", "granian", "--interface", "asgi", "--port", "PORT", APP),
    _server("granian wsgi", "granian", "--interface", "wsgi", "--port", "PORT", f"{WSGI}:application"),
    _server(
        "granian --workers",
        "granian",
        "--interface",
        "wsgi",
        "--workers",
        "2",
        "--port",
        "PORT",
        f"{WSGI}:application",
        pause_s=3,
    ),
    _server("waitress", "waitress-serve", "--listen", "127.0.0.1:PORT", f"{WSGI}:application", needs="waitress"),
    _server("uWSGI", "uwsgi", *UWSGI, "--wsgi", WSGI, needs="uWSGI", pause_s=2),
    _server("uWSGI --lazy-apps", "uwsgi", *UWSGI, "--lazy-apps", "--wsgi", WSGI, needs="uWSGI", pause_s=2),
    Row("runserver", (sys.executable, MANAGE, "runserver", "--skip-checks", "127.0.0.1:PORT"), pause_s=2),
    Row("runserver --noreload", (sys.executable, MANAGE, "runserver", "--skip-checks", "--noreload", "127.0.0.1:PORT")),
)
PROGRAMS = (
    _program("multiprocessing fork", "process-fork", 2),
    _program("multiprocessing spawn", "process-spawn", 2),
    _program("multiprocessing terminate()", "process-terminate", 1),
    _program("Pool fork", "pool-fork", 2),
    _program("ProcessPoolExecutor fork", "executor-fork", 2),
    _program("ProcessPoolExecutor spawn", "executor-spawn", 2),
    _program("os.fork, sys.exit", "os-fork", 2),
    _program("sys.exit", "exit", 1),
    _program("unhandled exception", "exception", 1),
    _program("SIGTERM, no handler", "sigterm", 1),
    Row("test --parallel", (sys.executable, PROGRAM, "test-parallel"), "", False, 4, ("-",)),
)
ROWS = (*SERVERS, *PROGRAMS)
