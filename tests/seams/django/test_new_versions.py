"""A Django, or Jinja2, whose functions have one more keyword and other defaults: the application gets its very call."""

from __future__ import annotations

import asyncio
import inspect

import jinja2
import pytest
from django.contrib import auth
from django.contrib.auth import hashers
from django.contrib.auth.models import Group
from django.db import connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from django.db.models.sql.compiler import SQLCompiler
from django.template import Context, Engine, base, loader_tags
from opentelemetry import trace as otel

from clew.testing import tracing
from tests.seams.django.test_auth import request_with_session

pytestmark = pytest.mark.django_db(transaction=True)
TEMPLATES = {
    "base": "<{% block content %}{% endblock %}>",
    "page": "{% extends 'base' %}{% block content %}a{% endblock %}",
}


def queries():
    Group.objects.filter(name="nobody").exists()
    list(Group.objects.all())
    list(Group.objects.iterator())


def transactions():
    with transaction.atomic():
        transaction.on_commit(queries)
        Group.objects.create(name="a")
    transaction.on_commit(queries)


def without_autocommit():
    connection.set_autocommit(False)
    try:
        queries()
        connection.commit()
        queries()
        connection.rollback()
    finally:
        connection.set_autocommit(True)


def templates():
    Engine(loaders=[("django.template.loaders.locmem.Loader", TEMPLATES)]).get_template("page").render(Context())


def jinja():
    environment = jinja2.Environment(loader=jinja2.DictLoader({**TEMPLATES, "macros": "{% macro a() %}{% endmacro %}"}))
    environment.from_string("{% import 'macros' as m %}{% extends 'base' %}").render(a=1)
    list(environment.get_template("base").generate(a=1))


def authentication():
    request = request_with_session()
    auth.authenticate(request, username="nobody", password="wrong")
    user = auth.get_user_model().objects.create_user("alice", password="secret")
    auth.login(request, user, "django.contrib.auth.backends.ModelBackend")
    auth.logout(request)
    hashers.check_password("secret", user.password)


def authentication_async():
    asyncio.run(hashers.acheck_password("secret", hashers.make_password("secret")))


PLACES = [
    (SQLCompiler, "execute_sql", queries),
    (CursorWrapper, "_execute_with_wrappers", queries),
    (BaseDatabaseWrapper, "run_and_clear_commit_hooks", transactions),
    (BaseDatabaseWrapper, "on_commit", transactions),
    (BaseDatabaseWrapper, "set_autocommit", without_autocommit),
    (BaseDatabaseWrapper, "commit", without_autocommit),
    (BaseDatabaseWrapper, "rollback", without_autocommit),
    (transaction.Atomic, "__enter__", transactions),
    (transaction.Atomic, "__exit__", transactions),
    (base.Template, "render", templates),
    (loader_tags.ExtendsNode, "render", templates),
    (loader_tags.ExtendsNode, "get_parent", templates),
    (loader_tags.BlockNode, "render", templates),
    (jinja2.Template, "render", jinja),
    (jinja2.Template, "generate", jinja),
    (jinja2.Template, "make_module", jinja),
    (auth, "_get_backends", authentication),
    (auth, "authenticate", authentication),
    (auth, "login", authentication),
    (auth, "logout", authentication),
    (hashers, "check_password", authentication),
    (hashers, "identify_hasher", authentication),
]
if hasattr(hashers, "acheck_password"):
    PLACES.append((hashers, "acheck_password", authentication_async))


def newer(original, seen):
    """The function with a keyword more, and with defaults that it tells from what it is given."""
    parameters = list(inspect.signature(original).parameters.values())
    at = len(parameters) - (parameters[-1].kind is inspect.Parameter.VAR_KEYWORD if parameters else 0)
    space = {"seen": seen, "original": original, "old": {}}
    declared, passed, defaults = [], [], []
    for parameter in parameters[:at]:
        stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else ""
        default = ""
        if parameter.default is not parameter.empty:
            space["old"][parameter.name], default = parameter.default, f"='default of {parameter.name}'"
            defaults.append(parameter.name)
        declared.append(f"{stars}{parameter.name}{default}")
        passed.append(f"{stars}{parameter.name}")
    hint = "hint=None" if any(each.startswith("*") for each in declared) else "*, hint=None"
    rest = [f"**{parameters[-1].name}"] if at < len(parameters) else []
    is_async, is_generator = inspect.iscoroutinefunction(original), inspect.isgeneratorfunction(original)
    lines = [f"{'async ' if is_async else ''}def {original.__name__}({', '.join([*declared, hint, *rest])}):"]
    for name in defaults:
        lines.append(f"    is_default = {name} == 'default of {name}'")
        lines.append(f"    seen.append(('{name}', is_default))")
        lines.append(f"    if is_default: {name} = old['{name}']")
    call = f"original({', '.join([*passed, *rest])})"
    lines.append("    seen.append(('hint', hint))")
    lines.append(f"    return {'await ' if is_async else ''}{f'(yield from {call})' if is_generator else call}")
    exec("\n".join(lines), space)
    return space[original.__name__]


def acted(act):
    Group.objects.all().delete()
    auth.get_user_model().objects.all().delete()
    with otel.get_tracer("tests").start_as_current_span("root"):
        act()


@pytest.mark.parametrize(("owner", "name", "act"), PLACES, ids=lambda value: getattr(value, "__name__", value))
def test_a_new_keyword_and_other_defaults(owner, name, act, monkeypatch):
    before, seen = [], []
    original = getattr(owner, name)
    monkeypatch.setattr(owner, name, newer(original, before))
    acted(act)
    monkeypatch.setattr(owner, name, newer(original, seen))
    with tracing() as trace:
        acted(act)
        wrapper = getattr(owner, name)
        assert inspect.signature(wrapper).parameters["hint"].default is None
        assert len(trace.spans) > 1
        assert seen == before
        assert ("hint", None) in seen
        seen.clear()
        # What calls it gives the new keyword.
        monkeypatch.setattr(owner, name, lambda *args, **kwargs: wrapper(*args, **kwargs, hint="given"))
        acted(act)
        assert ("hint", "given") in seen
        assert ("hint", None) not in seen
