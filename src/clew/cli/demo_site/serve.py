"""Serves the site: `opentelemetry-instrument python -m clew.cli.demo_site.serve`.

Django's own development server, without its reloader: threads, and nothing to install. It says its URL when it
listens, since the port may be whichever was free.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys

import django
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from opentelemetry.instrumentation.propagators import TraceResponsePropagator, set_global_response_propagator

from clew.cli.demo.processes import READY


def main() -> None:
    """Migrate, fill the database, and serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    args = parser.parse_args()
    # An ordinary exit, in which what is queued is still sent.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "clew.cli.demo_site.settings")
    django.setup()
    _open_shop()
    # Whoever asks for a page learns the id of its trace, by the header `traceresponse`.
    set_global_response_propagator(TraceResponsePropagator())  # type: ignore[no-untyped-call,unused-ignore]
    with _listen(args.host, args.port) as server:
        host = "127.0.0.1" if args.host == "0.0.0.0" else args.host
        print(f"{READY} http://{host}:{server.server_address[1]}", flush=True)
        server.serve_forever()


def _open_shop() -> None:
    from django.db import connections

    from clew.cli.demo_site.seed import seed

    seed()
    connections.close_all()


def _listen(host: str, port: int) -> ThreadedWSGIServer:
    from django.core.wsgi import get_wsgi_application

    try:
        server = ThreadedWSGIServer((host, port), WSGIRequestHandler, ipv6=":" in host)
    except OSError as error:
        sys.exit(f"cannot listen on {host} port {port}: {error.strerror}")
    # A browser keeps its connection open; the site ends without asking it.
    server.daemon_threads = True
    server.set_app(get_wsgi_application())
    return server


if __name__ == "__main__":
    main()
