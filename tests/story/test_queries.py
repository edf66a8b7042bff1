"""What a request or task knows of its queries goes with it: nothing waits for the garbage collector."""

from __future__ import annotations

import gc

import pytest
from django.contrib.auth.models import Group, Permission
from django.test import Client

from clew.testing import tracing
from tests.detectors.shared import unsampled
from tests.seams.django.test_transaction import served

pytestmark = [pytest.mark.urls("tests.seams.django.test_transaction"), pytest.mark.django_db]


def ask():
    for permission in Permission.objects.all()[:12]:
        Group.objects.filter(permissions=permission).first()


def in_a_trace(work):
    with tracing():
        return work()


@pytest.mark.parametrize("run", [in_a_trace, unsampled])
def test_nothing_of_a_request_is_left_to_the_garbage_collector(run):
    def several():
        client = Client()
        for _ in range(3):
            served(ask, client)
        # What another test has left may leave more when it goes.
        for _ in range(3):
            gc.collect()
        gc.set_debug(gc.DEBUG_SAVEALL)
        for _ in range(3):
            served(ask, client)
        gc.collect()

    is_on = gc.isenabled()
    gc.disable()
    try:
        run(several)
        left = {type(each).__qualname__ for each in gc.garbage if type(each).__module__.startswith("clew.")}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        if is_on:
            gc.enable()
    assert left == set()
