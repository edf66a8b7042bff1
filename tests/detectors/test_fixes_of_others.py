"""The advice of the other detectors, pasted by hand: what it says stands there word by word, the finding is gone and
the result is the same."""

from __future__ import annotations

import inspect
import re

import pytest
from celery import Celery
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.core.cache import caches
from django.db import transaction
from django.db.models import F
from django.test import override_settings
from opentelemetry import trace as otel

from clew.testing import tracing
from tests.detectors.corpus.models import Category, Comment, Country, Job, Post, Price, Tag, Translation
from tests.detectors.corpus.rows import DAY, make
from tests.detectors.test_cache import REDIS
from tests.detectors.test_fixes_paste import CODE, pattern, plain, squeezed

pytestmark = pytest.mark.django_db
COUNT = 12
KEYS = [f"key {n}" for n in range(COUNT)]


def rows_of(model, *names):
    return sorted(model.objects.values_list(*names), key=repr)


class Inserted:
    type = "write_in_loop"

    def bad():
        for key in KEYS:
            Job.objects.create(name=key, due=DAY)
        return rows_of(Job, "name")

    def mended():
        Job.objects.bulk_create([Job(name=key, due=DAY) for key in KEYS])
        return rows_of(Job, "name")


class Saved:
    type = "write_in_loop"

    def bad():
        for tag in Tag.objects.all():
            tag.name = f"{tag.name}!"
            tag.save(update_fields=["name"])
        return rows_of(Tag, "name")

    def mended():
        tags = list(Tag.objects.all())
        for tag in tags:
            tag.name = f"{tag.name}!"
        Tag.objects.bulk_update(tags, ["name"])
        assert Tag.objects.filter(pk__in=[]).update(name="") == 0
        return rows_of(Tag, "name")


class Computed:
    type = "write_in_loop"

    def bad():
        for price in Price.objects.all():
            Price.objects.filter(pk=price.pk).update(amount=F("amount") + 1)
        return rows_of(Price, "amount")

    def mended():
        Price.objects.filter(pk__in=[price.pk for price in Price.objects.all()]).update(amount=F("amount") + 1)
        return rows_of(Price, "amount")


class Deleted:
    type = "write_in_loop"

    def bad():
        for job in Job.objects.all():
            job.delete()
        return rows_of(Job, "name")

    def mended():
        Job.objects.filter(pk__in=[job.pk for job in Job.objects.all()]).delete()
        return rows_of(Job, "name")


class GotOrCreated:
    type = "write_in_loop"

    def bad():
        return [Country.objects.get_or_create(code=key[:8], defaults={"name": key})[0].code for key in KEYS]

    def mended():
        codes = [key[:8] for key in KEYS]
        Country.objects.bulk_create([Country(code=code, name=code) for code in codes], ignore_conflicts=True)
        found = {country.code: country for country in Country.objects.filter(code__in=codes)}
        return [found[code].code for code in codes]


class UpdatedOrCreated:
    type = "write_in_loop"

    def bad():
        for key in KEYS:
            Translation.objects.update_or_create(key=key, defaults={"text": "new"})
        return rows_of(Translation, "key", "text")

    def mended():
        Translation.objects.bulk_create(
            [Translation(key=key, text="new") for key in KEYS],
            update_conflicts=True, unique_fields=["key"], update_fields=["text"],
        )  # fmt: skip
        return rows_of(Translation, "key", "text")


class Added:
    type = "write_in_loop"

    def bad():
        tag = Tag.objects.create(name="all")
        for post in Post.objects.all():
            post.tags.add(tag)
        return Post.tags.through.objects.count()

    def mended():
        tag, through = Tag.objects.create(name="all"), Post.tags.through
        Post.tags.through.objects.bulk_create([through(post=post, tag=tag) for post in Post.objects.all()])
        return Post.tags.through.objects.count()


class Repeated:
    type = "repeated_query"

    def bad():
        return [Category.objects.get(name="category 1").name + tag.name for tag in Tag.objects.all()]

    def mended():
        category = Category.objects.get(name="category 1")
        return [category.name + tag.name for tag in Tag.objects.all()]


class AskedThreeTimes:
    type = "repeated_query"

    def bad():
        comments, found = Comment.objects.filter(is_spam=False), []
        for _ in range(COUNT):
            found.append(len([each.text for each in comments.all()]))
        return found

    def mended():
        comments = list(Comment.objects.filter(is_spam=False))
        return [len([each.text for each in comments]) for _ in range(COUNT)]


class Unbounded:
    type = "unbounded_fetch"

    def bad():
        return len([group.name for group in Group.objects.all()])

    def mended():
        return len([group.name for group in Group.objects.all().iterator()])


class Asked:
    type = "permission_queries"

    def bad():
        return sorted(user.username for user in User.objects.all() if user.has_perm("auth.pack"))

    def mended():
        get_user_model = lambda: User  # noqa: E731
        backend = "django.contrib.auth.backends.ModelBackend"
        return sorted(user.username for user in get_user_model().objects.with_perm("auth.pack", backend=backend))


class OneByOne:
    type = "cache_get_in_loop"

    def bad():
        cache = caches["default"]
        return [cache.get(f"number:{each}") for each in range(COUNT)]

    def mended():
        cache, keys = caches["default"], [f"number:{each}" for each in range(COUNT)]
        found = cache.get_many(keys)
        return [found.get(key) for key in keys]


class AgainAndAgain:
    type = "hot_cache_key"

    def bad():
        return [caches["default"].get("menu") for _ in range(30)]

    def mended():
        menu = caches["default"].get("menu")
        return [menu for _ in range(30)]


class SentTwice:
    type = "duplicate_publish"

    def bad():
        app = Celery("shop", broker="memory://", set_as_current=False)
        return [type(app.send_task("pack", [7])).__name__ for _ in range(2)][:1]

    def mended():
        app = Celery("shop", broker="memory://", set_as_current=False)
        return [type(app.send_task("pack", [7])).__name__]


ON_REDIS = (OneByOne, AgainAndAgain)
CASES = [
    *(Inserted, Saved, Computed, Deleted, GotOrCreated, UpdatedOrCreated, Added, Repeated, AskedThreeTimes, Unbounded),
    *(Asked, SentTwice, *(pytest.param(case, marks=pytest.mark.redis) for case in ON_REDIS)),
]


@pytest.fixture
def ran(db):
    """What a function returns, and what of one type is found."""
    make(COUNT)
    Group.objects.bulk_create([Group(name=f"group {number}") for number in range(250)])
    content = ContentType.objects.get_for_model(Group)
    pack = Permission.objects.create(codename="pack", name="May pack", content_type=content)
    for number in range(COUNT):
        User.objects.create(username=f"user {number}").user_permissions.add(*[pack][: number % 2])

    def run(case, function):
        with tracing(unbounded_fetch_threshold_rows=200) as trace:
            with transaction.atomic():
                with otel.get_tracer("tests").start_as_current_span("root"):
                    returned = plain(function())
                transaction.set_rollback(True)
            found = [finding for finding in trace.findings if finding.type == case.type]
        assert all(finding.attributes() for finding in found)
        return returned, found

    return run


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_what_it_says_mends_it(ran, case):
    with override_settings(CACHES={"default": REDIS} if case in ON_REDIS else {}):
        if case in ON_REDIS:
            caches["default"].set_many({"menu": "tea", **{f"number:{each}": each for each in range(COUNT)}})
        before, found = ran(case, case.bad)
        after, left = ran(case, case.mended)
    assert found
    source = squeezed(inspect.getsource(case.mended))
    assert [code for code in CODE.findall(found[0].fix) if not re.search(pattern(code), source)] == []
    assert (after, left) == (before, [])
