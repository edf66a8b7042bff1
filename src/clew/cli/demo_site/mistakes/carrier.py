"""Another company's service, which fetches parcels: how the shop calls it, and how it answers.

So that the demo needs no network, the site answers its own call.
"""

from __future__ import annotations

import time
import urllib.parse
import urllib.request

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from opentelemetry import propagate, trace

_TAKES_SECONDS = 0.15
_PATIENCE_SECONDS = 10
# No proxy can reach this machine's own address.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def book(site: HttpRequest, order_id: int) -> None:
    """Have the parcel of an order fetched.

    Args:
        site: a request to this site, which says on which port it listens.
        order_id: the order.
    """
    url = f"http://127.0.0.1:{site.META['SERVER_PORT']}/mistakes/carrier/"
    data = urllib.parse.urlencode({"order": order_id}).encode()
    # What an instrumentation of the HTTP client would do; the demo asks for none to be installed.
    facts = {"http.request.method": "POST", "url.full": url, "server.address": "127.0.0.1"}
    tracer = trace.get_tracer(__name__)
    with tracer.start_as_current_span("POST", kind=trace.SpanKind.CLIENT, attributes=facts) as span:
        headers: dict[str, str] = {}
        propagate.inject(headers)
        with _opener.open(urllib.request.Request(url, data, headers), timeout=_PATIENCE_SECONDS) as answered:
            span.set_attribute("http.response.status_code", answered.status)


@csrf_exempt
def answer(request: HttpRequest) -> HttpResponse:
    """The carrier, who takes his time."""
    time.sleep(_TAKES_SECONDS)
    return HttpResponse("booked", content_type="text/plain", status=202)
