"""A site with django-guardian: what is found in loops over objects, and with the fix in their place, as JSON.

python -m tests.detectors.guardian_program
"""

# ruff: noqa: E402 - Django is configured before its models are imported

from __future__ import annotations

import asyncio
import json
import re

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="test",
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "guardian"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "file:guardian?mode=memory&cache=shared"}},
    AUTHENTICATION_BACKENDS=[
        "django.contrib.auth.backends.ModelBackend",
        "guardian.backends.ObjectPermissionBackend",
    ],
    ANONYMOUS_USER_NAME=None,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
)
django.setup()

import guardian.core
import guardian.shortcuts
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command
from opentelemetry import trace as otel

from clew.testing import tracing

TYPE = "permission_queries"


def objects(user):
    return [group.name for group in Group.objects.all() if user.has_perm("auth.change_group", group)]


def pasted(user, fix):
    first, second, third = re.findall("`(.*?)`", fix)[:3]
    space = {"guardian": guardian, "user": user, "objects": list(Group.objects.all())}
    exec(first, space)
    exec(second, space)
    return [obj.name for obj in space["objects"] if eval(third, space, {"obj": obj})]


def in_its_place(user, fix):
    *_, last = re.findall("`(.*?)`", fix)
    return [group.name for group in eval(last, {"guardian": guardian, "user": user})]


def same(user):
    group = Group.objects.first()
    return [user.has_perm("auth.change_group", group) for _ in range(6)]


def users(user):
    return sorted(each.username for each in User.objects.all() if each.has_perm("auth.add_group"))


def users_pasted(user, fix):
    call = re.search(r"get_user_model\(\).*", fix)[0]
    return sorted(each.username for each in eval(call, {"get_user_model": get_user_model}))


def asynchronously(user):
    async def ask():
        found = [group async for group in Group.objects.all()]
        # guardian's backend has no `ahas_perm`: Django would not ask it.
        return [group.name for group in found if await sync_to_async(user.has_perm)("auth.change_group", group)]

    return asyncio.run(ask())


def told(function, *given):
    user = User.objects.get(username="ada")
    with tracing() as trace:
        with otel.get_tracer("program").start_as_current_span("root"):
            result = function(user, *given)
        for each in trace.findings:
            each.attributes()
        checks = [span.attributes for span in trace.spans if span.name == "auth has_perm"]
        return {
            "result": result,
            "findings": sorted({each.type for each in trace.findings}),
            "fix": next((each.fix for each in trace.findings if each.type == TYPE), ""),
            "checks": [
                [each[f"django.auth.{name}"] for name in ("granted", "object", "query_count")]
                for each in checks
                if "django.auth.object" in each
            ],
        }


def main():
    call_command("migrate", verbosity=0)
    ada = User.objects.create_user("ada")
    for number in range(8):
        group = Group.objects.create(name=f"group {number}")
        if number % 2:
            guardian.shortcuts.assign_perm("auth.change_group", ada, group)
        other = User.objects.create_user(f"user {number}")
        other.user_permissions.add(Permission.objects.get(codename="add_group"))
    found = {each.__name__: told(each) for each in (objects, same, users, asynchronously)}
    for bad, mended in ((objects, pasted), (objects, in_its_place), (users, users_pasted)):
        found[mended.__name__] = told(mended, found[bad.__name__]["fix"])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
