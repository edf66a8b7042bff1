"""The two bugs of tasks in loops and transactions, with a real broker, a prefork worker and PostgreSQL."""

from __future__ import annotations

import re
import uuid

import pytest
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connections, transaction

from tests.detectors.shared import found, said_on
from tests.seams.celery import shop
from tests.seams.celery.shop_settings import database
from tests.seams.celery.test_worker import site
from tests.seams.django.test_transaction import line_of, served
from tests.services import require

pytestmark = [
    pytest.mark.urls("tests.seams.django.test_transaction"),
    pytest.mark.django_db(transaction=True),
    pytest.mark.postgres,
]


@pytest.fixture
def schema(django_db_blocker):
    """A schema of its own, with one table, as the database "pg"."""
    require("postgres")
    name = f"clew_{uuid.uuid4().hex[:10]}"
    connections.settings["pg"] = {**connections.settings["default"], **database(name)}
    with django_db_blocker.unblock():
        pg = connections["pg"]
        with pg.cursor() as cursor:
            cursor.execute(f"CREATE SCHEMA {name}")
        with pg.schema_editor() as editor:
            for model in (ContentType, Permission, Group):
                editor.create_model(model)
        yield name
        with pg.cursor() as cursor:
            cursor.execute(f"DROP SCHEMA {name} CASCADE")
        pg.close()
    del connections["pg"]
    del connections.settings["pg"]


@pytest.fixture(
    params=[pytest.param("redis", marks=pytest.mark.redis), pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)]
)
def here(tmp_path, schema, request):
    environment = {"DJANGO_SETTINGS_MODULE": shop.__name__ + "_settings", "SHOP_SCHEMA": schema}
    arguments = ("-P", "prefork", "-c", "1", "-I", shop.__name__)
    with site(tmp_path, request.param, "grpc", *arguments, environment=environment) as opened:
        shop.declare(opened.app)
        yield opened


def test_a_task_that_is_sent_before_the_commit_finds_no_row(here):
    confirm = here.app.tasks["shop.confirm"]

    def view():
        with transaction.atomic("pg"):
            group = Group.objects.using("pg").create(name="a")
            confirm.delay(group.pk)
            assert here.gathered.wait_for(lambda spans: any(span.name == "run/shop.confirm" for span in spans))

    assert served(view).status_code == 200
    (finding,) = found(here.trace, "publish_in_transaction")
    assert (finding.site.path, finding.site.line) == (__file__, line_of(view, 3))
    assert f"opened at celery/test_transactions.py:{line_of(view, 1)}" in finding.message
    assert said_on(here.trace, "apply_async/shop.confirm") == ["publish_in_transaction"]

    (run,) = here.gathered.runs()
    said = [attributes for name, attributes in events_of(run) if name.startswith("clew.finding.")]
    assert [each["clew.finding.type"] for each in said] == ["publish_in_transaction"]
    assert said[0]["clew.finding.about"] == (
        "shop.confirm was sent before its transaction of 'pg' was committed; the row was not there yet "
        "(Group.DoesNotExist)"
    )
    assert said[0]["code.file.path"] == shop.__file__
    assert said[0]["code.line.number"] == line_in(shop, "Group.objects.get(pk=pk)")
    assert run.attributes["celery.published_in_transaction"] == "pg"
    publish = here.trace.named("apply_async/shop.confirm")
    assert run.trace_id == f"{publish.context.trace_id:032x}"


def test_the_lambda_of_a_loop_sends_the_last_item(here):
    receive = here.app.tasks["shop.receive"]

    def view():
        with transaction.atomic("pg"):
            for item in ["a", "b", "c"]:
                transaction.on_commit(lambda: receive.delay(item), using="pg")  # noqa: B023

    assert served(view).status_code == 200
    (finding,) = found(here.trace, "late_binding_on_commit")
    assert (finding.site.path, finding.site.line) == (__file__, line_of(view, 3))
    assert said_on(here.trace, "transaction pg") == ["late_binding_on_commit"]
    assert found(here.trace, "duplicate_publish") == []
    assert not found(here.trace, "publish_in_transaction")

    here.gathered.wait_for(lambda spans: len([span for span in spans if span.kind == "CONSUMER"]) == 3)
    here.worker.stop()
    log = here.worker.log.read_text()
    assert re.findall(r"Task shop.receive\[[\w-]+\] succeeded in [\d.e-]+s: '(\w+)'", log) == ["c", "c", "c"]
    assert all("celery.published_in_transaction" not in run.attributes for run in here.gathered.runs())


def line_in(module, text):
    with open(module.__file__) as file:
        return next(number for number, line in enumerate(file, 1) if text in line)


def events_of(run):
    return [(name, attributes) for name, _, attributes in run.events]
