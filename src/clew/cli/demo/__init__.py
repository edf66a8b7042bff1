"""`clew demo`: a Django site and a Celery worker in one command, and the trace that runs through both.

Nothing is simulated: the site and the worker are processes of their own under `opentelemetry-instrument`, as a
project's are, and what is shown came over the network. It fails where the real thing would.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import socket

from clew.cli.demo.processes import become
from clew.cli.terminal import say

_NEEDED = ("django", "celery")
_NEEDED_LIVE = ("channels", "daphne")

DESCRIPTION = """\
Start a Django site (SQLite) and a prefork Celery worker, each under opentelemetry-instrument;
log in, place an order whose invoice is a task; show the trace that runs through both processes.
"""
EPILOG = """\
the spans go elsewhere too, over gRPC or HTTP, when the standard variables say where:
  OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317 clew demo

each process by itself, as docker-compose.yml starts them (CLEW_DEMO_BROKER and CLEW_DEMO_DATABASE
are URLs; without them, files in ./clew-demo):
  clew demo web --host 127.0.0.1 --port 8000
  clew demo worker
  clew demo beat
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the subcommand takes."""
    ending = parser.add_mutually_exclusive_group()
    ending.add_argument("--once", action="store_true", help="show the traces and end (the default)")
    ending.add_argument("--keep", action="store_true", help="then leave the site running, until Ctrl-C")
    parser.add_argument("--all", action="store_true", help="show every request as a tree, not only the form post")
    pages = parser.add_mutually_exclusive_group()
    pages.add_argument(
        "--stories", action="store_true", help="instead, ask questions as they come up; each trace answers one"
    )
    pages.add_argument(
        "--findings",
        action="store_true",
        help="instead, visit a page for each mistake that clew finds; show where each is and how to mend it",
    )
    parser.add_argument("--broker", metavar="URL", help="redis://... or amqp://... (default: files, no service needed)")
    parser.add_argument("--port", type=_port, default=0, help="the site's port (default: a free one)")
    parser.add_argument("--export-file", metavar="FILE", help="also append the spans to FILE as OTLP JSON lines")
    processes = parser.add_subparsers(dest="process", metavar="PROCESS", help=argparse.SUPPRESS)
    web = processes.add_parser("web", help="only the site")
    web.add_argument("--host", default="127.0.0.1", help="where to listen (default: 127.0.0.1)")
    web.add_argument("--port", type=_port, default=8000, help="default: 8000")
    live = processes.add_parser("live", help="only what needs an event loop (daphne, Channels)")
    live.add_argument("--host", default="127.0.0.1", help="where to listen (default: 127.0.0.1)")
    live.add_argument("--port", type=_port, default=0, help="default: a free one")
    processes.add_parser("worker", help="only the worker")
    processes.add_parser("beat", help="only beat, which sends a task every 30 s")


def run(args: argparse.Namespace) -> int:
    """Run the demo, or become one of its processes.

    Returns:
        0 when the traces of both processes arrived and were shown, and nothing that clew should find in them was
        missing; else 1. 2 when a process of the demo is given values that it cannot use.
    """
    # Asked now, it is a line; asked by the processes, it would be two tracebacks.
    for package in (*_NEEDED, *(_NEEDED_LIVE if args.process == "live" else ())):
        if importlib.util.find_spec(package) is None:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    # billiard has no prefork pool there.
    if os.name != "posix":
        raise SystemExit("the demo's prefork worker needs Linux or macOS; on Windows, use WSL or docker compose")
    if args.process:
        from clew.cli.demo.environment import problem

        if said := problem() or _host_problem(args):
            say(f"clew demo: {said}")
            return 2
        become(args.process, getattr(args, "host", ""), args.port)
    # Not for a process of the demo, which would take the imports along.
    from clew.cli.demo.runner import run_demo

    return run_demo(args)


def _host_problem(args: argparse.Namespace) -> str:
    host = getattr(args, "host", None)
    if host is None:
        return ""
    try:
        socket.create_server((host, args.port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        return f"cannot listen on {host} port {args.port}: {reason}"
    return ""


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535)")
    return int(text)
