"""The site's app with a schedule, for `celery beat -A` and `celery worker -B -I`, told by the environment."""

from __future__ import annotations

import os
from typing import Any

from celery.beat import ScheduleEntry, Scheduler
from celery.schedules import crontab


class OwnScheduler(Scheduler):
    """Sends what is due by a `tick` and an `apply_async` of its own, as RedBeat does."""

    def tick(self, *args: Any, **kwargs: Any) -> float:
        return super().tick(*args, **kwargs)

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        self.apply_async(entry, producer=producer, advance=False)

    def apply_async(self, entry: ScheduleEntry, producer: Any = None, advance: bool = True, **kwargs: Any) -> Any:
        return super().apply_async(entry, producer=producer, advance=advance, **kwargs)


SCHEDULE = {
    "every second": {"task": "add", "schedule": 1.0, "args": (1, 2)},
    "nightly": {"task": "add", "schedule": crontab("0", "4"), "args": (1, 2)},
    "unsendable": {"task": "add", "schedule": 1.0, "args": (1, object())},
}


def declare(app: Any) -> None:
    app.conf.beat_schedule = {name: SCHEDULE[name] for name in os.environ["CELERY_SITE_ENTRIES"].split(",")}


if "CELERY_SITE_ENTRIES" in os.environ:
    from tests.celery_site import app as site

    declare(site.app)
    app = site.app
