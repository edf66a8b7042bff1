"""Serves what needs an event loop: `opentelemetry-instrument python -m clew.cli.demo_site.live`.

By daphne and Channels, where they are installed: async views, and a websocket that says how far an order is.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

import django
from opentelemetry.instrumentation.propagators import TraceResponsePropagator, set_global_response_propagator

from clew.cli.demo.processes import READY


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    args = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "clew.cli.demo_site.settings")
    django.setup()
    set_global_response_propagator(TraceResponsePropagator())  # type: ignore[no-untyped-call,unused-ignore]
    from daphne.server import Server

    server: Any = None

    def ready() -> None:
        host, port = server.listening_addresses[0]
        print(f"{READY} http://{host}:{port}", flush=True)

    endpoint = f"tcp:port={args.port}:interface={args.host}"
    server = Server(_application(), endpoints=[endpoint], ready_callable=ready, server_name="")
    server.run()
    if not server.listening_addresses:
        sys.exit(f"cannot listen on {args.host} port {args.port}")


def _application() -> Any:
    from channels.routing import ProtocolTypeRouter, URLRouter
    from django.core.asgi import get_asgi_application
    from django.urls import path

    from clew.cli.demo_site.progress import Progress

    site: Any = get_asgi_application()
    return ProtocolTypeRouter({"http": site, "websocket": URLRouter([path("live/", Progress.as_asgi())])})


if __name__ == "__main__":
    main()
