"""What an application is warned of, and what it logs, below Django's functions; its stderr says each with its line.

python -W default -m tests.seams.django.warning_program clew|nothing [SCENARIO]
"""

# ruff: noqa: E402 - Django is configured before its models are imported

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import warnings

import django
import jinja2
from django.conf import settings

settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions"],
    MIGRATION_MODULES={"contenttypes": None, "auth": None, "sessions": None},
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    AUTHENTICATION_BACKENDS=["__main__.Backend", "django.contrib.auth.backends.ModelBackend"],
    PASSWORD_HASHERS=["__main__.Hasher"],
    SECRET_KEY="test",
    USE_TZ=True,
)
django.setup()

from django.contrib import auth
from django.contrib.auth import hashers
from django.contrib.auth.models import AnonymousUser, Group, User
from django.contrib.sessions.backends.db import SessionStore
from django.core.management import call_command
from django.db import connection, models, transaction
from django.template import Context, Engine, Library
from django.test import RequestFactory
from opentelemetry import trace

from clew.testing import tracing

LIBRARIES = tuple(os.path.dirname(each.__file__) + os.sep for each in (django, jinja2, contextlib, asyncio))
logger = logging.getLogger("library")


def warn(what):
    """As a library does that warns of its caller's caller's ...: at every level there is, and by files to skip."""
    level = frames = 1
    frame = sys._getframe()
    while frame is not None:
        frames, frame = frames + (frame.f_code.co_filename.find("_bootstrap") < 0), frame.f_back
    for level in range(1, frames):
        warnings.warn(f"{what} {level}", PendingDeprecationWarning, stacklevel=level)
        if sys.version_info >= (3, 11):  # logging counts every frame before
            logger.warning("%s", what, stacklevel=level)
    if sys.version_info >= (3, 12):
        warnings.warn(f"{what} skipping", PendingDeprecationWarning, skip_file_prefixes=LIBRARIES)


class Upper(models.CharField):
    def get_db_prep_value(self, value, connection, prepared=False):
        warn("value")
        return super().get_db_prep_value(value, connection, prepared)

    def from_db_value(self, value, expression, connection):
        warn("row")
        return value


class Thing(models.Model):
    name = Upper(max_length=20)
    data = models.JSONField(null=True)

    class Meta:
        app_label = "auth"


class Backend:
    def authenticate(self, request, username=None, password=None):
        warn("backend")

    async def aauthenticate(self, request, username=None, password=None):
        warn("backend")
        return User(username=username)

    def get_user(self, pk):
        return None


class Hasher(hashers.MD5PasswordHasher):
    def verify(self, password, encoded):
        warn("hasher")
        return super().verify(password, encoded)


def hook():
    warn("hook")


def orm():
    list(Thing.objects.filter(name="x"))
    Thing.objects.filter(name="x").exists()
    Thing.objects.create(name="y")
    Thing.objects.filter(name="y").update(name="z")
    Thing.objects.get(name="z").delete()


def json():
    list(Thing.objects.filter(data=None))
    list(Thing.objects.filter(data=None))
    Thing.objects.filter(data=None).count()


def iterator():
    Thing.objects.bulk_create([Thing(name="1"), Thing(name="2"), Thing(name="3")])
    for _ in Thing.objects.filter(name__gt="0").iterator(chunk_size=2):
        pass


def raw():
    def wrapper(execute, sql, params, many, context):
        warn("wrapper")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(wrapper), connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.executemany("UPDATE auth_group SET name = %s", [["a"]])
    list(Thing.objects.raw("SELECT * FROM auth_thing"))


def transactions():
    connection.execute_wrappers.append(lambda execute, *args: (warn("statement"), execute(*args))[1])
    try:
        with transaction.atomic():
            with transaction.atomic():
                Group.objects.count()
            transaction.on_commit(hook)
            transaction.on_commit(hook, robust=True)
        decorated()
    finally:
        connection.execute_wrappers.pop()


@transaction.atomic
def decorated():
    Group.objects.count()
    getattr(transaction, "savepoint")()  # noqa: B009 - deprecated in Django 6.1, and typed so


def on_commit():
    transaction.on_commit(hook)
    transaction.on_commit(hook, robust=True)


library = Library()
library.filter("warned", lambda value: warn("filter") or value)
TEMPLATES = {
    "base": "<{% block content %}{% endblock %}>",
    "page": "{% extends 'base' %}{% block content %}{{ 1|warned }}{% include 'card' %}{% endblock %}",
    "card": "{{ 2|warned }}",
}


def templates():
    engine = Engine(loaders=[("django.template.loaders.locmem.Loader", TEMPLATES)])
    engine.template_builtins.append(library)
    engine.get_template("page").render(Context())


def jinja():
    loader = jinja2.DictLoader({name: text.replace("|warned", "|warned()") for name, text in TEMPLATES.items()})
    for is_async in (False, True):
        environment = jinja2.Environment(loader=loader, enable_async=is_async)
        environment.filters["warned"] = library.filters["warned"]
        page = environment.get_template("page")
        page.render()
        list(page.generate())
        if is_async:
            asyncio.run(page.render_async())


def authentication():
    request = RequestFactory().get("/")
    request.session, request.user = SessionStore(), User.objects.create_user("alice", password="secret")
    auth.authenticate(request, username="alice", password="secret")
    request.user.backend = "django.contrib.auth.backends.ModelBackend"
    with contextlib.suppress(AttributeError):  # Django 6.1 takes no None
        auth.login(request, None)
    auth.logout(request)
    assert isinstance(request.user, AnonymousUser)
    hashers.check_password("secret", hashers.make_password("secret"))
    if django.VERSION >= (5, 2):  # before, it calls authenticate() in a thread, where this database is another one
        asyncio.run(auth.aauthenticate(request, username="alice", password="wrong"))


SCENARIOS = [orm, json, iterator, raw, transactions, on_commit, templates, jinja, authentication]


def main():
    logging.basicConfig(format="%(pathname)s:%(lineno)d: %(message)s", force=True)
    call_command("migrate", run_syncdb=True, verbosity=0)
    with contextlib.ExitStack() as stack:
        if sys.argv[1] == "clew":
            stack.enter_context(tracing())
            stack.enter_context(trace.get_tracer("tests").start_as_current_span("root"))
        for scenario in SCENARIOS:
            if scenario.__name__ in (sys.argv[2:] or [scenario.__name__]):
                print(f"= {scenario.__name__}", file=sys.stderr)
                scenario()
        print("= over", file=sys.stderr)


main()
