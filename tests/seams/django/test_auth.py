"""Authentication: which backend was asked, what each one said, and that no credential is told."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import django
import pytest
from django.contrib import auth
from django.contrib.auth import hashers
from django.contrib.auth import views as auth_views
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import PermissionDenied
from django.test import Client, RequestFactory
from django.utils.functional import SimpleLazyObject
from django.views.debug import ExceptionReporter
from opentelemetry import trace as otel

import clew
from clew.engine import wrapper_source
from clew.testing import tracing
from tests.seams.django.test_template import below_view
from tests.site import auth_backends, auth_urls

pytestmark = [pytest.mark.urls("tests.site.auth_urls"), pytest.mark.django_db]
OUTCOME = "django.auth.outcome"
MODEL = "django.contrib.auth.backends.ModelBackend"
SITE = "tests.site.auth_backends"
GOOD = {"username": "alice", "password": "correct-horse"}
BAD = {"username": "alice", "password": "battery-staple"}
needs_async = pytest.mark.skipif(django.VERSION < (5, 0), reason="Django 4.2 has no aauthenticate()")


@pytest.fixture(autouse=True)
def user():
    return User.objects.create_user("alice", password="correct-horse")


@pytest.fixture
def backends(settings):
    def use(*names):
        settings.AUTHENTICATION_BACKENDS = [MODEL if name == "ModelBackend" else f"{SITE}.{name}" for name in names]

    return use


@pytest.fixture(autouse=True)
def _no_error():
    yield
    auth_backends.Directory.error = None


def authenticate(credentials):
    with otel.get_tracer("tests").start_as_current_span("root"):
        return auth.authenticate(RequestFactory().get("/"), **credentials)


def without_queries(found):
    """What a backend asks of the database is the database seam's to show."""
    return "\n".join(line for line in found.splitlines() if "CLIENT" not in line and "transaction" not in line)


def tree(trace, *attributes):
    return without_queries(trace.tree(OUTCOME, *attributes)).replace("root\n", "", 1)


def test_accepted(trace, backends, user):
    backends("ModelBackend")
    assert authenticate(GOOD) == user
    assert tree(trace, "django.auth.hasher") == (
        "  auth authenticate outcome=accepted\n"
        "    auth backend ModelBackend outcome=accepted\n"
        "      auth check_password hasher=md5"
    )
    assert trace.named("auth authenticate").attributes["django.auth.backend"] == MODEL
    backend = dict(trace.named("auth backend ModelBackend").attributes)
    assert backend.pop("code.file.path").endswith("/django/contrib/auth/backends.py")
    assert backend.pop("code.line.number") > 0
    assert backend == {
        "django.auth.backend": MODEL,
        OUTCOME: "accepted",
        "code.function.name": f"{MODEL}.authenticate",
    }


def test_declined_and_skipped_in_order(trace, backends):
    backends("Tokens", "Declining", "ModelBackend", "Tokens")
    assert authenticate(BAD) is None
    assert tree(trace) == (
        "  auth authenticate outcome=declined\n"
        "    auth backend Tokens outcome=skipped\n"
        "    auth backend Declining outcome=declined\n"
        "    auth backend ModelBackend outcome=declined\n"
        "      auth check_password\n"
        "    auth backend Tokens outcome=skipped"
    )
    assert "django.auth.backend" not in trace.named("auth authenticate").attributes


def test_denied_is_no_error_and_stops_the_chain(trace, backends):
    backends("Declining", "Denying", "ModelBackend")
    assert authenticate(GOOD) is None
    assert tree(trace) == (
        "  auth authenticate outcome=denied\n"
        "    auth backend Declining outcome=declined\n"
        "    auth backend Denying outcome=denied"
    )
    assert not any(event.name == "exception" for span in trace.spans for event in span.events)


def test_an_error_is_the_identical_object(trace, backends):
    auth_backends.Directory.error = ConnectionError("ldap is down")
    backends("Declining", "Directory", "ModelBackend")
    with pytest.raises(ConnectionError) as raised:
        authenticate(GOOD)
    assert raised.value is auth_backends.Directory.error
    assert trace.tree(OUTCOME) == (
        "root ERROR\n"
        "  auth authenticate ERROR outcome=error\n"
        "    auth backend Declining outcome=declined\n"
        "    auth backend Directory ERROR outcome=error"
    )
    assert trace.named("auth backend Directory").events[0].attributes["exception.message"] == "ldap is down"


def test_super_is_no_backend_of_its_own(trace, backends, user):
    backends("Inheriting", "ModelBackend", "Bare")
    assert authenticate(GOOD) == user
    assert tree(trace) == (
        "  auth authenticate outcome=accepted\n    auth backend Inheriting outcome=accepted\n      auth check_password"
    )
    trace.clear()
    assert authenticate(BAD) is None
    names = ("Inheriting", "ModelBackend", "Bare")
    asked = [f"    auth backend {name} outcome=declined\n      auth check_password" for name in names]
    assert tree(trace) == "\n".join(["  auth authenticate outcome=declined", *asked])


def test_backends_of_every_kind_survive(trace, backends, user):
    backends("Instance", "CallableMethod", "singleton", "Directory", "Declining", "ModelBackend")
    assert authenticate(GOOD) == user
    assert tree(trace) == (
        "  auth authenticate outcome=accepted\n"
        "    auth backend singleton outcome=declined\n"
        "    auth backend Directory outcome=declined\n"
        "    auth backend Declining outcome=declined\n"
        "    auth backend ModelBackend outcome=accepted\n"
        "      auth check_password"
    )


def test_a_backend_that_asks_the_others_again(trace, backends):
    backends("Recursive", "Tokens")
    assert authenticate(GOOD) is None
    inner = "auth backend Recursive outcome=skipped", "auth backend Tokens outcome=skipped"
    assert tree(trace) == (
        "  auth authenticate outcome=declined\n"
        "    auth backend Recursive outcome=declined\n"
        "      auth authenticate outcome=declined\n"
        f"        {inner[0]}\n"
        f"        {inner[1]}\n"
        "    auth backend Tokens outcome=skipped"
    )


@needs_async
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("names", "credentials", "outcomes"),
    [
        (["Directory", "Inheriting"], GOOD, ["declined", "accepted"]),
        (["Tokens", "ModelBackend"], BAD, ["skipped", "declined"]),
        (["Declining", "Denying", "ModelBackend"], GOOD, ["declined", "denied"]),
    ],
)
def test_async(trace, backends, names, credentials, outcomes):
    backends(*names)

    async def body():
        with otel.get_tracer("tests").start_as_current_span("root"):
            return await auth.aauthenticate(RequestFactory().get("/"), **credentials)

    found = asyncio.run(body())
    assert (found is not None) is (outcomes[-1] == "accepted")
    lines = [line for line in tree(trace).splitlines() if "check_password" not in line]
    assert lines == [
        f"  auth authenticate outcome={outcomes[-1]}",
        *(f"    auth backend {name} outcome={outcome}" for name, outcome in zip(names, outcomes, strict=False)),
    ]


@needs_async
@pytest.mark.django_db(transaction=True)
def test_async_login_logout_and_check_password(trace, user):
    request = request_with_session()

    async def body():
        with otel.get_tracer("tests").start_as_current_span("root"):
            await auth.alogin(request, user, backend=MODEL)
            await auth.alogout(request)
            assert await user.acheck_password("correct-horse")

    asyncio.run(body())
    assert without_queries(trace.tree()) == (
        "root\n  auth login\n    session cycle_key\n      session create\n        session save\n"
        "    receiver models.update_last_login\n  auth logout\n    session flush\n  auth check_password"
    )


def request_with_session():
    from django.contrib.sessions.backends.db import SessionStore

    request = RequestFactory().get("/")
    request.session = SessionStore()
    request.user = AnonymousUser()

    async def auser():
        return request.user

    request.auser = auser
    return request


def test_login_and_logout_over_http(trace):
    client = Client()
    assert client.post("/login/", GOOD).status_code == 302
    lines = [line.strip() for line in below_view(trace, OUTCOME).splitlines()]
    assert [line for line in lines if line.startswith("auth")] == [
        "auth authenticate outcome=accepted",
        "auth backend ModelBackend outcome=accepted",
        "auth check_password",
        "auth login",
    ]
    trace.clear()
    client.post("/logout/")
    assert "auth logout" in below_view(trace)


def test_functions_imported_under_another_name(trace):
    Client().get("/enter/")
    assert trace.named("auth login").parent.span_id == trace.named("view auth_urls.enter").context.span_id


def test_no_credential_and_no_username_is_told(trace, user):
    client = Client(raise_request_exception=False)
    client.post("/login/", GOOD)
    client.post("/login/", BAD)
    auth_backends.Directory.error = ConnectionError("bind of uid=7 with password=correct-horse failed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("django.conf.settings.AUTHENTICATION_BACKENDS", [f"{SITE}.Directory"])
        client.post("/login/", GOOD)
    told = "\n".join(span.to_json() for span in trace.spans)
    assert "auth backend Directory" in told
    for secret in ("alice", "correct-horse", "battery-staple", user.password):
        assert secret not in told


@pytest.mark.parametrize("encoded", ["correct-horse", "!unusable", "", "correct-horse$x$y"])
def test_what_is_no_hash_is_not_told(trace, encoded):
    with otel.get_tracer("tests").start_as_current_span("root"):
        assert hashers.check_password("correct-horse", encoded) is False
    assert trace.tree("django.auth.hasher") == "root\n  auth check_password"


def test_error_pages_show_none_of_our_variables(trace, backends):
    auth_backends.Directory.error = ConnectionError("down")
    backends("Directory")
    try:
        authenticate(GOOD)
    except ConnectionError:
        frames = ExceptionReporter(None, *sys.exc_info()).get_traceback_frames()
    ours = (str(Path(clew.__file__).parent), wrapper_source.FILE_NAME)
    assert frames
    assert not [frame["filename"] for frame in frames if frame["filename"].startswith(ours)]


def test_the_request_user_is_not_loaded(trace, backends):
    def never():
        raise AssertionError("evaluated")

    request = RequestFactory().get("/")
    request.user = SimpleLazyObject(never)
    backends("ModelBackend")
    with otel.get_tracer("tests").start_as_current_span("root"):
        assert auth.authenticate(request, **BAD) is None


def test_nothing_is_recorded_without_a_recording_span(trace, user):
    assert auth.authenticate(RequestFactory().get("/"), **GOOD) == user
    assert trace.spans == ()


def test_uninstalling_restores_the_identical_objects(backends, user):
    backends("Inheriting", "Bare", "Declining", "Directory")
    functions = [(auth, "authenticate"), (auth, "login"), (auth, "logout"), (auth, "_get_backends")]
    functions += [(hashers, "check_password"), (auth_views, "auth_login"), (auth_urls, "log_somebody_in")]
    methods = [(ModelBackend, "authenticate"), (auth_backends.Inheriting, "authenticate")]
    methods += [(auth_backends.Declining, "authenticate"), (auth_backends.Directory, "authenticate")]
    before = [vars(owner)[name] for owner, name in functions + methods]
    own = dict(vars(auth_backends.Bare))
    for _ in range(2):
        with tracing():
            assert authenticate(GOOD) == user
            assert auth_views.auth_login is auth.login is auth_urls.log_somebody_in is not before[1]
            assert vars(auth_backends.Inheriting)["authenticate"] is not before[8]
            assert authenticate(BAD) is None
            assert "authenticate" in vars(auth_backends.Bare)
        assert [vars(owner)[name] for owner, name in functions + methods] == before
        assert dict(vars(auth_backends.Bare)) == own


def test_results_are_equal_with_and_without(backends, user):
    def outcomes():
        found = []
        for names in (["ModelBackend"], ["Denying", "ModelBackend"], ["Tokens", "Bare"]):
            backends(*names)
            result = auth.authenticate(None, **GOOD)
            found.append((result, getattr(result, "backend", None)))
        try:
            auth_backends.Denying().authenticate(None)
        except PermissionDenied:
            found.append("denied")
        return found

    without = outcomes()
    with tracing(), otel.get_tracer("tests").start_as_current_span("root"):
        assert outcomes() == without


@pytest.mark.parametrize(
    ("names", "is_active", "reason"),
    [
        (["Declining", "ModelBackend"], True, "no backend accepted the credentials"),
        (["ModelBackend"], False, "the user is inactive"),
        (["ModelBackend", "Denying"], True, f"{SITE}.Denying denied it (PermissionDenied)"),
    ],
)
def test_why_a_login_fails(trace, backends, names, is_active, reason):
    backends(*names)
    User.objects.update(is_active=is_active)
    assert authenticate(BAD if is_active else GOOD) is None
    span = trace.named("auth authenticate")
    assert span.attributes["django.auth.reason"] == reason
    assert [(event.name, dict(event.attributes)) for event in span.events] == [
        ("django.auth.login_failed", {"django.auth.reason": reason})
    ]


@needs_async
def test_why_an_async_login_fails(trace, backends):
    backends("Directory")

    async def asked():
        with otel.get_tracer("tests").start_as_current_span("root"):
            return await auth.aauthenticate(RequestFactory().get("/"), **BAD)

    assert asyncio.run(asked()) is None
    assert trace.named("auth authenticate").attributes["django.auth.reason"] == "no backend accepted the credentials"


def test_no_reason_where_it_is_accepted(trace, backends, user):
    backends("Declining", "ModelBackend")
    assert authenticate(GOOD) == user
    assert "django.auth.reason" not in trace.named("auth authenticate").attributes
    assert not trace.named("auth authenticate").events


def test_a_hash_that_is_upgraded(trace, backends, user, settings):
    upgraded = "django.auth.hash_upgraded"
    backends("ModelBackend")
    authenticate(GOOD)
    assert upgraded not in trace.named("auth check_password").attributes
    hasher = "django.contrib.auth.hashers."
    settings.PASSWORD_HASHERS = [f"{hasher}ScryptPasswordHasher", f"{hasher}MD5PasswordHasher"]
    for credentials, expected in ((BAD, None), (GOOD, True), (GOOD, None)):
        trace.clear()
        authenticate(credentials)
        assert trace.named("auth check_password").attributes.get(upgraded) is expected
    assert not User.objects.get().password.startswith("md5$")


def test_what_becomes_of_the_session(trace):
    client = Client()

    def became(name):
        return [span.attributes.get("django.auth.session") for span in trace.spans if span.name == f"auth {name}"]

    client.post("/login/", GOOD)
    assert became("login") == ["cycled"]
    trace.clear()
    client.post("/login/", GOOD)
    assert became("login") == ["kept"]
    User.objects.create_user("bob", password="battery")
    trace.clear()
    client.post("/login/", {"username": "bob", "password": "battery"})
    assert became("login") == ["flushed"]
    trace.clear()
    client.post("/logout/")
    assert became("logout") == ["flushed"]


def test_a_permission_for_an_object(trace, backends, user):
    """As guardian's: a backend that is asked about one object, and keeps the answer."""
    backends("PerObject")
    user = User.objects.get()
    with otel.get_tracer("tests").start_as_current_span("root"):
        assert user.has_perm("auth.change_user", user)
        assert user.has_perm("auth.change_user", user)
        assert not user.has_perm("auth.change_user")
    found = [span.attributes for span in trace.spans if span.name == "auth has_perm"]
    assert [(each.get("django.auth.object"), each["django.auth.query_count"]) for each in found] == [
        ("django.contrib.auth.models.User", 1),
        ("django.contrib.auth.models.User", 0),
        (None, 0),
    ]
