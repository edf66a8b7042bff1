"""`publish_in_transaction`: sent before the commit, each with the line that sends it after the commit."""

from __future__ import annotations

import functools

from celery import chain, chord, group
from celery.contrib.django.task import DjangoTask
from django.contrib.auth.models import Group
from django.db import transaction

from tests.celery_site.app import make_app
from tests.detectors.others.case import found, silent

TYPE = "publish_in_transaction"
app = make_app(queue="clew-cases-early")
add = app.tasks["add"]
ran: list = []


@app.task(name="shop.mail", base=DjangoTask, shared=False)
def mail(to, subject="hello"):
    ran.append((to, subject))


@found(TYPE, "add is sent inside an open transaction of 'default'")
def a_task():
    with transaction.atomic():
        made = Group.objects.create(name="a")
        add.delay(made.pk, right=1)


@found(TYPE, "shop.mail is sent inside")
def a_task_of_django():
    with transaction.atomic():
        made = Group.objects.create(name="a")
        mail.delay(made.pk, subject=f"new {made.name}")


@found(TYPE, "shop.mail is sent inside")
def with_options():
    with transaction.atomic():
        made = Group.objects.create(name="a")
        mail.apply_async((made.pk,), countdown=1)


@found(TYPE, "add is sent inside")
def by_name():
    with transaction.atomic():
        made = Group.objects.create(name="a")
        app.send_task("add", args=[made.pk, 1])


@found(TYPE, "add is sent inside")
def a_signature_that_is_sent():
    with transaction.atomic():
        made = Group.objects.create(name="a")
        add.s(made.pk, 1).apply_async(countdown=1)


@found(TYPE, "add is sent inside")
def a_group():
    with transaction.atomic():
        made = Group.objects.create(name="a")
        group([add.s(made.pk, 1), add.s(made.pk, 2)], app=app).delay()


@found(TYPE, "add is sent inside")
def a_chain():
    with transaction.atomic():
        made = Group.objects.create(name="a")
        chain(add.s(made.pk, 1), add.s(2), app=app).apply_async()


@found(TYPE, "shop.mail is sent inside")
def a_chain_that_is_called():
    with transaction.atomic():
        made = Group.objects.create(name="a")
        chain(mail.si(made.pk), mail.si(2), app=app)()


@found(TYPE, "add is sent inside")
def in_a_durable_block():
    with transaction.atomic(durable=True):
        Group.objects.create(name="a")
        with transaction.atomic():
            add.delay(1, 1)


@transaction.atomic
def _decorated():
    Group.objects.create(name="a")
    add.delay(1, 1)


@found(TYPE, "add is sent inside")
def in_a_decorated_function():
    _decorated()


@silent(TYPE)
def after_the_commit():
    with transaction.atomic():
        made = Group.objects.create(name="a")
        mail.delay_on_commit(made.pk)
        mail.apply_async_on_commit((made.pk,), countdown=1)
        transaction.on_commit(functools.partial(add.delay, made.pk, 1))
        transaction.on_commit(functools.partial(add.delay, made.pk, 1), robust=True)
        transaction.on_commit(group([add.s(1, 1)], app=app).delay)
    add.delay(1, 1)


@silent(TYPE)
def a_signature_that_is_only_made():
    with transaction.atomic():
        Group.objects.create(name="a")
        made = chord([add.s(1, 1)], app.tasks["total"].s(), app=app)
    return made and None


@silent(TYPE)
def with_autocommit_off_and_nothing_written():
    transaction.set_autocommit(False)
    try:
        add.delay(1, 1)
        transaction.commit()
    finally:
        transaction.set_autocommit(True)
