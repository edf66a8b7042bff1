"""What happens when a name that clew needs is called something else: `python -m tests.engine.needs_table [words]`.

One row for each need whose name holds one of the words (without any: for all): what the site says and does, and what
`clew doctor` says. With `--json`, for tests/engine/test_needs.py; with `--once`, what the site says and does as it is,
which the words are modules to import of. A site of its own, in a process of its own.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys

from celery import Celery
from django.conf import settings
from opentelemetry import trace as otel
from opentelemetry.util._once import Once

from clew import setup_tracing
from clew.cli.doctor import needs_process as doctor
from clew.engine import isolation, needs, silenced
from clew.seams import seams
from clew.story import transactions
from tests.engine.renaming import renamed

PAGE = "{% for each in permissions %}{{ each.content_type.app_label }} {% endfor %}{{ form.as_p }}"
SHOWN = 110
lines = []


class Lines(logging.Handler):
    def emit(self, record):
        lines.append(record.getMessage())


def configure():
    settings.configure(
        SECRET_KEY="x",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        USE_TZ=True,
        INSTALLED_APPS=[f"django.contrib.{name}" for name in ("contenttypes", "auth", "sites", "sessions")],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.common.CommonMiddleware",
        ],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
    )
    importlib.import_module("django").setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    globals()["urlpatterns"] = urls()


celery = Celery("needs", broker="memory://", backend="cache+memory://")
celery.conf.task_always_eager = celery.conf.task_store_eager_result = True


@celery.task
def double(number):
    return 2 * number


def view(request):
    from django import forms
    from django.contrib.auth.models import Group, Permission
    from django.db import transaction
    from django.http import HttpResponse
    from django.template import engines

    class Form(forms.Form):
        name = forms.CharField()

    form = Form({"name": "x"})
    assert form.is_valid()
    with transaction.atomic():
        for number in range(6):
            Group.objects.create(name=f"group {number}").delete()
        transaction.on_commit(lambda: double.delay(1))
    request.session["seen"] = double.delay(2).get(timeout=5)
    page = engines["django"].from_string(PAGE)
    return HttpResponse(page.render({"permissions": Permission.objects.all()[:9], "form": form}))


def urls():
    from django.urls import path

    return [path("", view)]


def works():
    """Whether a request that writes, renders and runs tasks is answered as it should be."""
    from django.test import Client

    try:
        answer = Client(raise_request_exception=True).get("/")
        return answer.status_code == 200 and answer.content.count(b"auth") > 3 and "seen" in answer.client.session
    except Exception:
        return False


def row(need):
    """What happens when a need's name is another one."""
    asking = doctor.Look(lambda **line: None, ())
    state = asking._state(need.module)
    if state:
        return {"need": str(need), "trouble": state}
    if state is None or not need.applies:
        return {"need": str(need), "absent": True}
    reset()
    with renamed(need):
        lost = [seam.name for seam in doctor._seams() if not all(map(is_met, seam.all_needs))]
        declared = [owner for owner, each in needs.DECLARED.items() if not all(map(is_met, each.needs))]
        told = doctor._missing(need)
        works_alone = works()
        tracing = setup_tracing()
        works_renamed = works() if works_alone else None
        standing = [seam.name for seam in seams() if seam.is_installed]
        if works_alone:
            tracing.shutdown()
    if works_renamed is None:
        works_renamed = works()
        tracing.shutdown()
    return {
        "need": str(need),
        "absent": False,
        "lines": list(lines),
        "seams": lost,
        "declared": declared,
        "doctor": told,
        "works": works_renamed,
        "works_alone": works_alone,
        "standing": standing,
    }


def is_met(need):
    module = sys.modules.get(need.module)
    return module is None or not need.applies or need.is_met_by(module)


def reset():
    lines.clear()
    # A provider made while the names were the right ones goes on with those.
    otel._TRACER_PROVIDER, otel._TRACER_PROVIDER_SET_ONCE = None, Once()
    isolation._reported.clear()
    silenced.types.clear()
    transactions._Watch.is_possible = True


def all_needs():
    for module in doctor._modules():
        importlib.import_module(module)
    found = {need: None for need, _ in doctor._all_needs()}
    return sorted(found, key=str)


def main(arguments):
    words = [each for each in arguments if not each.startswith("-")]
    os.environ["OTEL_TRACES_EXPORTER"] = "none"
    logging.getLogger("clew").addHandler(Lines())
    logging.getLogger("clew").propagate = False
    logging.getLogger("django").setLevel(logging.CRITICAL)
    if "--once" in arguments:
        once(words)
    configure()
    rows = [row(need) for need in all_needs() if not words or any(word in str(need) for word in words)]
    if "--json" in arguments:
        print(json.dumps(rows))
    else:
        for each in rows:
            print(shown(each))
    sys.stdout.flush()
    os._exit(0)


def once(modules):
    """A site that sets tracing up first."""
    setup_tracing()
    configure()
    for module in modules:
        importlib.import_module(module)
    print(json.dumps({"lines": lines, "works": works()}), flush=True)
    os._exit(0)


def shown(found):
    if found.get("absent") or "trouble" in found:
        return f"| {found['need']} | {found.get('trouble') or 'not installed, or not of this version'} | | |"
    said = "; ".join(line.replace(f"{found['doctor']}", "it is not there")[:SHOWN] for line in found["lines"])
    return f"| {found['need']} | {said} | {'works' if found['works'] else 'BROKEN'} | problem: {found['doctor']} |"


if __name__ == "__main__":
    main(sys.argv[1:])
