"""A site that logs, and asks other services and databases with a secret each; run by test_beside_contrib.py."""

from __future__ import annotations

import logging
import sqlite3
import threading
import urllib.request
import warnings
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import requests
import urllib3
from django.conf import settings
from django.db import connection
from django.http import HttpResponse
from django.urls import path

settings.configure(
    ROOT_URLCONF=__name__,
    SECRET_KEY="x",
    ALLOWED_HOSTS=["*"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    LOGGING_CONFIG=None,
)


class Quiet(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Quiet)


def url(tool, number):
    return f"http://bob:cAnary7x{number}@127.0.0.1:{server.server_port}/{tool}?token=cAnary7x{number + 1}"


def page(request):
    requests.get(url("requests", 10))
    httpx.get(url("httpx", 20))
    urllib3.PoolManager().request("GET", url("urllib3", 30))
    urllib.request.urlopen(url("urllib", 40).replace("bob:cAnary7x40@", "")).close()
    sqlite3.connect(":memory:").cursor().execute("SELECT 'cAnary7x50' AS of_the_driver").fetchall()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 'cAnary7x51' AS of_django")
    logging.getLogger("app").warning("logged once: password=%s", "cAnary7x60", extra={"token": "cAnary7x61"})
    return HttpResponse("ok")


urlpatterns = [path("page/", page)]


def main():
    import django
    from django.test import Client

    warnings.simplefilter("ignore")
    django.setup()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    assert Client().get("/page/").status_code == 200


if __name__ == "__main__":
    import sys

    sys.modules["tests.export.contrib_site"] = sys.modules["__main__"]
    main()
