"""A site that says secrets wherever OpenTelemetry has a place for one; run by test_canaries.py.

Each secret is another number of the same kind, so what has leaked names its place.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings

from django.conf import settings
from django.http import HttpResponse
from django.urls import path

DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
if os.environ.get("CANARY_POSTGRES"):
    server = {"HOST": "127.0.0.1", "USER": "postgres", "PASSWORD": "postgres", "NAME": "postgres"}
    DATABASES["postgres"] = {"ENGINE": "django.db.backends.postgresql", **server}
settings.configure(
    ROOT_URLCONF="tests.export.canary_site",
    SECRET_KEY="cAnary7x10",
    ALLOWED_HOSTS=["*"],
    DATABASES=DATABASES,
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    LOGGING_CONFIG=None,
)


def reset(request, uidb64, token):
    from opentelemetry import trace

    say(trace.get_current_span(), 100)
    with trace.get_tracer("app").start_as_current_span("app", links=[link(150)]) as span:
        say(span, 200)
    log(300)
    count(400)
    query(500)
    publish(600)
    return HttpResponse("ok")


def link(at):
    from opentelemetry.trace import Link, SpanContext, TraceFlags

    context = SpanContext(at, at, is_remote=True, trace_flags=TraceFlags(1))
    return Link(context, {"password": f"cAnary7x{at}", "sent": f"Bearer cAnary7x{at + 1}"})


def say(span, at):
    """Everything a span can be told."""
    said = iter(f"cAnary7x{number}" for number in range(at, at + 50))
    span.set_attribute("user.password", next(said))
    span.set_attribute("http.request.header.cookie", [f"a=1; b={next(said)}"])
    span.set_attribute("url.full", f"https://u:{next(said)}@h/x?token={next(said)}")
    span.set_attribute("url.query", f"code={next(said)}&next=%2Fx%3Ftoken%3D{next(said)}")
    span.set_attribute("process.command_args", ["mysql", "--password", next(said), f"-p{next(said)}"])
    span.set_attributes(
        {"db.query.text": f"SELECT 1 WHERE token = '{next(said)}'", "body": f'{{"pin": "{next(said)}"}}'}
    )
    span.set_attributes({"db.statement": f"INSERT INTO t VALUES ('{next(said)}')", "n": 3})
    span.set_attribute("process.command_line", ["curl", "-u", f"bob:{next(said)}", "https://h/"])
    span.set_attributes({"STRIPE_KEY": next(said), "note": f'{{"pass\\u0077ord": "{next(said)}"}}'})
    span.add_event(f"secrets:\n  - {next(said)}", {"line": f"Cookie: a=1;\n b={next(said)}"})
    span.add_event(f"sent token={next(said)}", {"secret": next(said), "line": f"password={next(said)}"})
    span.add_link(link(at + 40).context, {"u": f"redis://:{next(said)}@h/0"})
    span.record_exception(ValueError(f"password={next(said)}"), {"otp": next(said)})
    span.set_status(trace_status(), f"api_key={next(said)} is wrong")
    span.update_name(f"GET /x?token={next(said)}")


def trace_status():
    from opentelemetry.trace import StatusCode

    return StatusCode.ERROR


def log(at):
    logger = logging.getLogger("app")
    logger.warning(
        "password=%s", f"cAnary7x{at}", extra={"token": f"cAnary7x{at + 1}", "line": f"pin=cAnary7x{at + 2}"}
    )
    try:
        raise ValueError(f"secret: 'cAnary7x{at + 3}'")
    except ValueError:
        logger.exception("failed with %r", {"password": [f"cAnary7x{at + 4}"]})


def count(at):
    from opentelemetry import metrics

    meter = metrics.get_meter("app")
    meter.create_counter("calls").add(1, {"token": f"cAnary7x{at}", "u": f"http://u:cAnary7x{at + 1}@h/"})
    meter.create_histogram("sizes").record(1, {"list": [f"Bearer cAnary7x{at + 2}"]})


def query(at):
    from django.db import connections

    for alias in connections:
        with connections[alias].cursor() as cursor:
            cursor.execute(f"SELECT 'cAnary7x{at}' AS note")
            cursor.execute("SELECT %s AS note", [f"cAnary7x{at + 1}"])
            try:
                cursor.execute(f"SELECT nonsense FROM nowhere WHERE note = 'cAnary7x{at + 2}'")
            except Exception:
                logging.getLogger("app").exception("no such table")
        at += 10
    if os.environ.get("CANARY_REDIS"):
        import redis

        client = redis.Redis()
        client.set(f"clew-canary-{os.getpid()}", f"cAnary7x{at}", ex=1)
        try:
            client.execute_command("AUTH", f"cAnary7x{at + 1}")
        except redis.RedisError:
            logging.getLogger("app").exception("not let in")


def publish(at):
    from celery import Celery

    app = Celery("app", broker="memory://")
    app.send_task("shop.pay", args=(f"cAnary7x{at}",), kwargs={"password": f"cAnary7x{at + 1}"})


def fail(request):
    raise ValueError(f"could not log in with password=cAnary7x700, {request.POST!r}")


urlpatterns = [path("reset/<uidb64>/<token>/", reset), path("fail/", fail)]


def main():
    import django

    if "setup" in sys.argv:
        import clew

        clew.setup_tracing()
    warnings.simplefilter("ignore")
    django.setup()
    if not os.environ.get("OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED"):
        from opentelemetry.sdk._logs import LoggingHandler

        logging.getLogger().addHandler(LoggingHandler())
    from django.test import Client

    client = Client(raise_request_exception=False)
    client.cookies["theme"] = "cAnary7x800"
    headers = {
        "HTTP_AUTHORIZATION": "Bearer cAnary7x801",
        "HTTP_X_API_KEY": "cAnary7x802",
        "HTTP_SEC_WEBSOCKET_PROTOCOL": "bearer, cAnary7x808",
        "HTTP_X_AMZN_OIDC_DATA": "cAnary7x809",
        "HTTP_X_FORWARDED_CLIENT_CERT": 'Hash=a;Cert="cAnary7x810"',
        "HTTP_USER_AGENT": "probe token=cAnary7x811",
    }
    answer = client.get(
        "/reset/MQ/cAnary7x803/?token=cAnary7x804&pass%77ord=cAnary7x805&next=%2F%3Fsid%3DcAnary7x806", **headers
    )
    assert answer.status_code == 200, answer
    assert client.get("/nowhere;jsessionid=cAnary7x812").status_code == 404
    assert client.post("/fail/", {"password": "cAnary7x807", "user": "bob"}).status_code == 500


if __name__ == "__main__":
    sys.modules["tests.export.canary_site"] = sys.modules["__main__"]
    main()
