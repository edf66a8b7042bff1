"""`duplicate_publish`: the same sent twice, and what only looks like it."""

from __future__ import annotations

import datetime

from celery import chain, chord, group

from tests.celery_site.app import make_app
from tests.detectors.others.case import found, silent

TYPE = "duplicate_publish"
app = make_app(queue="clew-cases", task_always_eager=True)
other_app = make_app(queue="clew-cases", task_always_eager=True)
real = make_app(queue="clew-cases-real")


@app.task(name="mail", shared=False)
def mail(to, subject="hello", *, copies=1):
    return to


@real.task(name="mail", bind=True, shared=False)
def real_mail(self, to, subject="hello", *, copies=1):
    return to


def _once():
    mail.delay(1, "hello")


@found(TYPE, "mail was sent 2 times with the same arguments", mended=_once)
def by_position_and_by_name():
    mail.delay(1, "hi")
    mail.apply_async((1,), {"subject": "hi"})


@found(TYPE, "mail was sent 3 times", mended=_once)
def with_a_default_and_without():
    mail.delay(1)
    mail.delay(to=1)
    mail.delay(1, copies=1)


@found(TYPE, "mail was sent 2 times")
def by_name_and_by_task_of_a_bound_task():
    real_mail.delay(1)
    real.send_task("mail", (1, "hello"))


@found(TYPE, "mail was sent 2 times")
def by_a_signature():
    mail.s(1).delay()
    mail.si(1).apply_async()


@silent(TYPE)
def under_ids_of_their_own():
    mail.apply_async((1,), task_id="one")
    mail.apply_async((1,), task_id="two")
    real_mail.apply_async((1,), task_id="one")
    real_mail.apply_async((1,), task_id="two")


@silent(TYPE)
def of_two_apps():
    for each in (app, other_app):
        each.tasks["add"].delay(1, 2)


@silent(TYPE)
def to_two_brokers():
    real_mail.delay(1)
    with real.connection_for_write() as connection:
        real_mail.apply_async((1,), connection=connection)


@silent(TYPE)
def at_two_times():
    now = datetime.datetime(2030, 1, 1, tzinfo=datetime.timezone.utc)
    real_mail.apply_async((1,), countdown=10)
    real_mail.apply_async((1,), countdown=20)
    real_mail.apply_async((1,), eta=now)
    real_mail.apply_async((1,), eta=now + datetime.timedelta(days=1))
    real_mail.apply_async((1,), expires=60)


@silent(TYPE)
def on_two_ways():
    real_mail.delay(1)
    real_mail.apply_async((1,), queue="clew-other")
    real_mail.apply_async((1,), routing_key="clew-other")
    real_mail.apply_async((1,), priority=9)
    real_mail.apply_async((1,), headers={"tenant": "a"})


@silent(TYPE)
def copies_of_a_canvas():
    group([mail.s(1), mail.s(1)]).delay()
    chord([mail.s(1), mail.s(1)], app.tasks["total"].s(), app=app)
    chain(mail.s(1), mail.si(1)).delay()
    mail.chunks([(1,), (1,)], 1).apply_async()


@silent(TYPE)
def with_another_value_of_a_default():
    mail.delay(1)
    mail.delay(1, copies=2)


@silent(TYPE)
def with_what_cannot_be_compared():
    class Text(str):
        pass

    for _ in range(2):
        real_mail.apply_async((Text("a"),))
