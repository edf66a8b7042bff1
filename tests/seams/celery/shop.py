"""Tasks of test_transactions.py, for its own process (`declare`) and for the worker (`celery worker -I`)."""

from __future__ import annotations

import os
from typing import Any


def declare(app: Any) -> None:
    @app.task(name="shop.confirm", shared=False)
    def confirm(pk: int) -> None:
        from django.contrib.auth.models import Group

        Group.objects.get(pk=pk)

    @app.task(name="shop.receive", shared=False)
    def receive(item: str) -> str:
        return item


if "SHOP_SCHEMA" in os.environ:
    from tests.celery_site import app as site

    declare(site.app)
