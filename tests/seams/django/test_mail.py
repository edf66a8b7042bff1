"""Mail: how many messages and recipients, by which backend, from which line; nothing of who they are."""

from __future__ import annotations

import socketserver
import threading

import django
import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.core.mail import EmailMessage, send_mail
from django.core.mail.backends import locmem
from django.db import transaction
from django.http import HttpResponse
from django.test import Client
from django.urls import path

from clew.seams.django.mail import SEAM
from clew.testing import tracing

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]
LOCMEM = "django.core.mail.backends.locmem.EmailBackend"
Locmem = locmem.EmailBackend
FACTS = ("django.mail.message_count", "django.mail.recipient_count", "django.mail.sent_count")


def use(settings, backend, **options):
    """Have mail sent by a backend, as this version of Django is told so."""
    if django.VERSION >= (6, 1):
        settings.MAILERS = {"default": {"BACKEND": backend, "OPTIONS": options}}
    else:
        settings.EMAIL_BACKEND = backend
        for name, value in options.items():
            setattr(settings, f"EMAIL_{name.upper()}", value)


class OwnBackend(Locmem):
    """A site's own."""

    def send_messages(self, messages):
        User.objects.exists()
        return super().send_messages(messages)


class Refusing(OwnBackend):
    """One that fails."""

    def send_messages(self, messages):
        raise ConnectionRefusedError("no server")


def page(request):
    send_mail("Secret subject", "Secret words", "me@example.org", ["you@example.org", "she@example.org"])
    return HttpResponse()


def many(request):
    messages = [EmailMessage("s", "b", "me@example.org", [f"{n}@example.org"], bcc=["x@y.org"]) for n in range(3)]
    return HttpResponse(
        str((mail.mailers.default if django.VERSION >= (6, 1) else mail.get_connection()).send_messages(messages))
    )


def nobody(request):
    return HttpResponse(str(send_mail("s", "b", "me@example.org", [])))


def locked(request):
    with transaction.atomic():
        User.objects.create(username="ada")
        send_mail("s", "b", "me@example.org", ["you@example.org"])
    return HttpResponse()


urlpatterns = [path("page/", page), path("many/", many), path("nobody/", nobody), path("locked/", locked)]


@pytest.fixture
def trace(settings):
    use(settings, LOCMEM)
    with tracing() as captured:
        yield captured


def mails(trace):
    lines = [line.strip() for line in trace.tree(*FACTS).splitlines()]
    return [line for line in lines if line.startswith("send_mail")]


def test_one_message(trace):
    Client().get("/page/")
    found = trace.named("send_mail locmem")
    assert {name: found.attributes[name] for name in FACTS} == dict(zip(FACTS, (1, 2, 1), strict=True))
    assert found.attributes["django.mail.backend"] == LOCMEM
    assert found.attributes["code.line.number"] == page.__code__.co_firstlineno + 1
    assert not [span for span in trace.spans if "ecret" in str(span.to_json()) or "example.org" in str(span.to_json())]
    assert [message.subject for message in mail.outbox] == ["Secret subject"]


def test_many_messages_are_one_sending_and_no_recipient_is_none(trace):
    assert Client().get("/many/").content == b"3"
    assert Client().get("/nobody/").content == b"0"
    (found,) = mails(trace)
    assert found.startswith("send_mail locmem")
    assert [trace.named("send_mail locmem").attributes[name] for name in FACTS] == [3, 6, 3]


def test_a_backend_of_the_sites_is_one_span_with_what_it_does_below(trace, settings):
    use(settings, f"{__name__}.OwnBackend")
    SEAM.on_ready()
    Client().get("/page/")
    (found,) = [span for span in trace.spans if span.name.startswith("send_mail")]
    assert found.name == "send_mail OwnBackend"
    below = [span.name for span in trace.spans if span.parent and span.parent.span_id == found.context.span_id]
    assert below == ["SELECT auth_user"]


def test_a_failure_is_told_and_raised_as_it_is(trace, settings):
    use(settings, f"{__name__}.Refusing")
    SEAM.on_ready()
    with pytest.raises(ConnectionRefusedError, match="no server"):
        Client().get("/page/")
    found = trace.named("send_mail Refusing")
    assert found.attributes["error.type"] == "ConnectionRefusedError"
    assert "django.mail.sent_count" not in found.attributes


class _Smtp(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"220 here\r\n")
        is_text = False
        for line in self.rfile:
            word = line.strip().upper()
            if is_text:
                is_text = word != b"."
                answer = b"" if is_text else b"250 ok\r\n"
            else:
                is_text = word == b"DATA"
                answer = b"354 go on\r\n" if is_text else b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n"
            self.wfile.write(answer)


@pytest.fixture
def smtp(settings):
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Smtp) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        host, port = server.server_address
        use(settings, "django.core.mail.backends.smtp.EmailBackend", host=host, port=port)
        yield
        server.shutdown()


@pytest.mark.django_db(transaction=True)
def test_detects_a_mail_server_inside_a_transaction(trace, smtp):
    Client().get("/locked/")
    assert trace.named("send_mail smtp").attributes["django.mail.sent_count"] == 1
    (found,) = [each for each in trace.findings if each.type == "io_in_transaction"]
    assert "(send_mail," in found.message
    assert found.site.line == locked.__code__.co_firstlineno + 3


@pytest.mark.django_db(transaction=True)
def test_no_false_positive_outside_one_or_for_mail_that_stays_here(trace, smtp, settings):
    Client().get("/page/")
    use(settings, LOCMEM)
    Client().get("/locked/")
    assert [each.type for each in trace.findings if each.type == "io_in_transaction"] == []


def test_it_is_undone(settings):
    use(settings, f"{__name__}.OwnBackend")
    with tracing():
        SEAM.on_ready()
    with tracing(django_mail=False) as trace:
        Client().get("/page/")
        functions = [vars(Locmem)["send_messages"], vars(OwnBackend)["send_messages"]]
        assert [each.__code__.co_filename for each in functions] == [locmem.__file__, __file__]
    assert mails(trace) == []
