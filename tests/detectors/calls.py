"""A service to call, and the clients that call it, each with its instrumentation."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import httpx
import requests
import urllib3
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.instrumentation.urllib import URLLibInstrumentor
from opentelemetry.instrumentation.urllib3 import URLLib3Instrumentor

PAGES = 8


class Service(BaseHTTPRequestHandler):
    """`/busy` fails, or is not ready, as often as its query says; `/pages` has a next page; all else answers."""

    protocol_version = "HTTP/1.1"
    seen: dict[str, int] = {}

    def do_GET(self):
        parts = urlsplit(self.path)
        query = {name: each[0] for name, each in parse_qs(parts.query).items()}
        count = self.seen[self.path] = self.seen.get(self.path, 0) + 1
        is_early = count <= int(query.get("times", 0))
        number = int(query.get("page", query.get("cursor", 1)))
        said = {"done": not is_early, "next": number + 1 if number < PAGES else None, "path": parts.path}
        body = json.dumps(said).encode()
        self.send_response(int(query.get("status", 200)) if is_early else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.do_GET()

    do_PUT = do_POST

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def served():
    Service.seen.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


POOL = urllib3.PoolManager()


def by_urllib(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.loads(answer.read())


def by_httpx(url):
    with httpx.Client(timeout=30) as client:
        return client.get(url).json()


GETS = {
    "requests": (RequestsInstrumentor, lambda url: requests.get(url, timeout=30).json()),
    "urllib3": (URLLib3Instrumentor, lambda url: json.loads(POOL.request("GET", url).data)),
    "urllib": (URLLibInstrumentor, by_urllib),
    "httpx": (HTTPXClientInstrumentor, by_httpx),
}


@contextlib.contextmanager
def instrumented(*kinds):
    for kind in kinds:
        kind().instrument()
    try:
        yield
    finally:
        for kind in kinds:
            kind().uninstrument()


def run_async(function):
    return asyncio.run(function())
