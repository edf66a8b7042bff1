"""`receiver shop.signals.reindex`: a receiver of a signal that takes its time, or in which anything happens.

We stand at `Signal._live_receivers`, which Django comes to only where a signal has receivers: one that has none costs
nothing. It gives the very receivers it would have given, in a list that sees `send` walk through it (`delivery`);
those that are coroutines are followed step by step (`concurrent`).
"""

from __future__ import annotations

from typing import Any

from opentelemetry.trace import NonRecordingSpan
from opentelemetry.trace.propagation import _SPAN_KEY

from clew import attributes as names
from clew.engine import needs
from clew.engine.seam import Patch, Seam, SpanDoc
from clew.engine.wrapper import Around
from clew.seams.django.signals.concurrent import AsyncReceivers
from clew.seams.django.signals.delivery import Receivers, end_loop
from clew.seams.django.signals.naming import DISPATCHER, kind_of
from clew.spans.current import get_current
from clew.story.receiving import are_all_djangos


def _followed(signal: Any, /, sender: Any, result: Any) -> Any:
    above = get_current().get(_SPAN_KEY)
    if above is None or type(above) is NonRecordingSpan or (kind := kind_of(signal)) == "object":
        return result
    called, awaited = result if type(result) is tuple else (result, None)  # Django 4.2 has no async receivers
    if called and not (kind == "request" and are_all_djangos(called)):
        called = Receivers(called)
        called.what = signal, sender
    if awaited:
        awaited = AsyncReceivers(awaited, signal, sender)
    return (called, awaited) if type(result) is tuple else called


SEAM = Seam(
    "django.signals",
    patches=(
        Patch(DISPATCHER, "Signal._live_receivers", Around(replace=_followed)),
        Patch(DISPATCHER, "Signal.send", Around(close=end_loop), until="5.0"),
    ),
    needs=needs.inside(DISPATCHER, "Signal.send_robust", "responses"),
    spans=(
        SpanDoc(
            "receiver shop.signals.reindex",
            "INTERNAL",
            "a receiver of a signal that takes 1 ms or more, fails, or has anything below it; equal ones are one span",
            (
                names.DJANGO_SIGNAL_RECEIVER,
                names.DJANGO_SIGNAL_NAME,
                names.DJANGO_SIGNAL_SENDER,
                names.CODE_FUNCTION_NAME,
                names.CODE_FILE_PATH,
                names.CODE_LINE_NUMBER,
            ),
        ),
    ),
)
