"""`clew view`: the traces of the applications on this machine, as they happen, in a terminal.

Nothing to install and nothing to configure but one environment variable in the application: the shortest way
from "something is slow" to the line that makes it so.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Sequence

from clew.cli.terminal import Terminal, say
from clew.cli.view.receiver import Receiver, ReceiverError
from clew.cli.view.span_record import SpanRecord
from clew.cli.view.trace_buffer import PATIENCE, Part, TraceBuffer
from clew.cli.view.tree import format_trace

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}
# Short against what an eye notices, long against what looking costs.
_LOOK_SECONDS = 0.1
_LOOPBACK = ("127.", "localhost", "::1")

DESCRIPTION = "Receive traces over OTLP and show each one as a tree when it is complete."
EPILOG = """\
point an application here:
  OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317          (gRPC, the default)
  OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf \\
  OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318          (HTTP)
and, to see traces sooner than the SDK's usual five seconds:
  OTEL_BSP_SCHEDULE_DELAY=500

examples:
  clew view --errors                       only traces in which something failed
  clew view --name checkout --once         the next trace with "checkout" in a span's name
  clew view --min-duration 500ms           only slow ones
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the subcommand takes."""
    listen = parser.add_argument_group("where to listen")
    listen.add_argument("--host", default="127.0.0.1", help="address (default: 127.0.0.1, this machine only)")
    listen.add_argument("--grpc-port", type=_port, default=4317, metavar="PORT", help="default: 4317")
    listen.add_argument("--http-port", type=_port, default=4318, metavar="PORT", help="default: 4318")
    which = parser.add_argument_group("which traces to show (all that are given must hold)")
    which.add_argument("--service", metavar="NAME", help="with a span of this service")
    which.add_argument("--name", metavar="TEXT", help="with TEXT in a span's name")
    which.add_argument("--errors", action="store_true", help="with a failed span")
    which.add_argument("--min-duration", type=_seconds, metavar="TIME", help="at least this long: 100ms, 1.5s")
    ending = parser.add_argument_group("when to show and when to end")
    ending.add_argument("--count", type=_positive, metavar="N", help="end after N traces")
    ending.add_argument("--once", action="store_const", dest="count", const=1, help="end after one trace")
    ending.add_argument(
        "--settle",
        type=_seconds,
        default=1.0,
        metavar="TIME",
        help=f"quiet time before a complete trace is shown (default: 1s; an incomplete one: {PATIENCE:g}s)",
    )


def run(args: argparse.Namespace) -> int:
    """Show traces until Ctrl-C, or until as many as wanted were shown.

    Returns:
        0, or 1 if it cannot listen.
    """
    buffer = TraceBuffer(settle=args.settle)
    screen = _Screen(args)
    receiver = Receiver(buffer.add, host=args.host, grpc_port=args.grpc_port, http_port=args.http_port)
    try:
        receiver.start()
    except ReceiverError as error:
        say(f"clew view: {error}")
        return 1
    try:
        _announce(receiver)
        while not screen.full:
            time.sleep(_LOOK_SECONDS)
            screen.show(buffer.ready())
            screen.tell(*buffer.dropped())
    except KeyboardInterrupt:
        # What has arrived is worth more to the person who waits for it than a quick end.
        screen.show(buffer.rest())
        raise
    finally:
        receiver.stop()
    return 0


class _Screen:
    """Writes the traces that match, and knows when it has written enough."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._left: int | None = args.count

    @property
    def full(self) -> bool:
        return self._left is not None and self._left <= 0

    def show(self, parts: Sequence[Part]) -> None:
        for part in parts:
            # Parts that are joined by links pass together: half of a request would puzzle more than help.
            if self.full or not matches(part.records, self._args):
                continue
            # Asked anew for each trace: the window may have been resized.
            terminal = Terminal.of(sys.stdout)
            lines = format_trace(
                part.records,
                color=terminal.color,
                width=terminal.width,
                ascii_only=terminal.ascii_only,
                known=part.known,
            )
            print("\n".join(lines), end="\n\n", flush=True)
            if self._left is not None:
                self._left -= part.new

    def tell(self, traces: int, spans: int) -> None:
        if spans:
            what = f"{spans:,} spans in {traces:,} whole traces" if traces else f"{spans:,} spans of a very large trace"
            text = f"dropped {what}: more than can be held"
            say(f"clew view: {text}")


def matches(records: Sequence[SpanRecord], args: argparse.Namespace) -> bool:
    """Whether spans that are shown together pass the filters of the command line.

    Args:
        records: one trace, or several that are linked.
        args: `service`, `name`, `errors` and `min_duration` (seconds or None).
    """
    if args.service and all(record.service != args.service for record in records):
        return False
    if args.name and all(args.name.lower() not in record.name.lower() for record in records):
        return False
    if args.errors and all(record.status != "ERROR" for record in records):
        return False
    if args.min_duration:
        lasted = max(record.end_ns for record in records) - min(record.start_ns for record in records)
        return bool(lasted >= args.min_duration * 1e9)
    return True


def _announce(receiver: Receiver) -> None:
    # To stderr, so that `clew view > traces.txt` holds traces only.
    lines = [
        f"clew view listens on {receiver.grpc_endpoint} (OTLP/gRPC) and {receiver.http_endpoint} (OTLP/HTTP)",
        f"  point an app here:  OTEL_EXPORTER_OTLP_ENDPOINT={receiver.grpc_endpoint}",
        "  traces appear when they are complete; Ctrl-C ends",
    ]
    if not receiver.host.startswith(_LOOPBACK):
        lines.append(f"  other machines can reach it too, since it listens on {receiver.host}")
    say("\n".join(lines), end="\n\n")


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535)")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 up")
    return int(text)


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(us|ms|s|m)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time with a unit, as 100ms or 1.5s")
    return float(found[1]) * _UNITS[found[2]]
