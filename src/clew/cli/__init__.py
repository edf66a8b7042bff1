"""The `clew` command: each subcommand is a module of this package, imported when it is asked for.

`clew --help` answers at once and works in an environment that lacks what one subcommand needs; that
subcommand then says in one line which package is missing and how to get it.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from typing import Any

_COMMANDS = {
    "demo": "run a small Django site and a Celery worker, and show their traces",
    "view": "receive traces on this machine and show each one as a tree",
    "settings": "show every setting, its value and where it came from",
    "doctor": "check what keeps traces from being complete",
}
_MEND = {
    "django": "pip install 'clew[demo]'",
    "celery": "pip install 'clew[demo]'",
    "channels": "pip install channels daphne",
    "daphne": "pip install channels daphne",
    "grpc": "pip install --force-reinstall grpcio opentelemetry-exporter-otlp",
    "google": "pip install --force-reinstall protobuf googleapis-common-protos",
    "opentelemetry": "pip install --force-reinstall clew",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the `clew` command.

    Args:
        argv: the arguments after the command's name; None takes the process's.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong use or a missing package, 130 after Ctrl-C.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if sys.stderr is None:
        # `print` would write to stdout in its place.
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for the rest of the process
    if sys.stdout is None:
        _say("standard output is closed")
        return 1
    try:
        code = _code(arguments)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader (`| head`) has gone.
        _give_up_stdout()
        return 141
    except OSError as error:
        _give_up_stdout()
        _say(str(error))
        return 1
    except ModuleNotFoundError as error:
        return _missing(arguments, error)


def _code(arguments: list[str]) -> int:
    try:
        return _dispatch(arguments)
    except SystemExit as leave:
        if isinstance(leave.code, str):
            _say(leave.code)
        return leave.code if isinstance(leave.code, int) else int(leave.code is not None)


def _give_up_stdout() -> None:
    """Without this, Python complains when it flushes stdout at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(what: str) -> None:
    with contextlib.suppress(OSError):
        print(f"clew: {what}", file=sys.stderr)


def _dispatch(arguments: list[str]) -> int:
    # Only the wanted module is imported, so that the others may lack their packages.
    wanted = next((word for word in arguments if not word.startswith("-")), "")
    parser = argparse.ArgumentParser(
        prog="clew",
        description="OpenTelemetry for Django + Celery: follow one request into the worker.",
        epilog="`clew COMMAND --help` says more about each.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print clew's version and exit")
    subparsers = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    module: Any = None
    own = parser
    for name in _available():
        if name == wanted:
            module = importlib.import_module(f"clew.cli.{name}")
            described = {"description": module.DESCRIPTION, "epilog": module.EPILOG, "allow_abbrev": name != "demo"}
            raw = argparse.RawDescriptionHelpFormatter
            own = subparsers.add_parser(name, help=_COMMANDS[name], formatter_class=raw, **described)
            module.add_arguments(own)
        else:
            subparsers.add_parser(name, help=_COMMANDS[name])
    args, unknown = parser.parse_known_args(arguments)
    if unknown:
        own.error(f"unrecognized arguments: {' '.join(unknown)}")
    if module is None:
        parser.print_help()
        return 2
    return int(module.run(args))


def _available() -> list[str]:
    return [name for name in _COMMANDS if importlib.util.find_spec(f"clew.cli.{name}")]


def _missing(arguments: list[str], error: ModuleNotFoundError) -> int:
    package = (error.name or "").partition(".")[0]
    # A missing module of ours is a bug, and a bug needs its traceback.
    if package in ("", "clew"):
        raise error
    mend = _MEND.get(package, "install it, or run clew where your project can be imported")
    command = " ".join(["clew", *arguments[:1]])
    print(f"{command}: the Python package {error.name!r} is missing: {mend}", file=sys.stderr)
    return 2


class _Version(argparse.Action):
    """Prints what a bug report needs, read only when asked: metadata is slower than all of `--help`."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        python = ".".join(map(str, sys.version_info[:3]))
        print(f"clew {version('clew')} (opentelemetry-sdk {version('opentelemetry-sdk')}, Python {python})")
        parser.exit(0)
