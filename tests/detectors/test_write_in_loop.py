from __future__ import annotations

import pytest
from django.db import connection
from django.db.models import F

from tests.detectors.corpus.models import (
    Author,
    Category,
    Comment,
    Country,
    Genre,
    Job,
    Post,
    Restaurant,
    Tag,
    Track,
    Translation,
)
from tests.detectors.corpus.rows import DAY


@pytest.fixture
def written(findings_of):
    return lambda function, **settings: findings_of("write_in_loop", function, **settings)


def create_each():
    for n in range(10):
        Job.objects.create(name=f"new {n}", due=DAY)


def test_detects_inserts(written):
    (found,) = written(create_each)
    assert found["clew.finding.about"].startswith("Job rows were inserted one by one: 10 statements")
    assert "Job.objects.bulk_create" in found["clew.finding.fix"]
    assert "post_save" in found["clew.finding.fix"]
    assert found["clew.finding.model"] == "Job"
    assert found["site"].function.endswith("create_each")


def test_detects_saves(written):
    def save_each():
        for post in Post.objects.all():
            post.title = post.title.upper()
            post.save()

    (found,) = written(save_each)
    assert "Post rows were updated one by one: 12" in found["clew.finding.about"]
    assert "bulk_update" in found["clew.finding.fix"]


def test_detects_updates_of_querysets(written):
    (found,) = written(lambda: [Post.objects.filter(pk=n).update(title="new") for n in range(10)])
    assert "updated" in found["clew.finding.about"]


def test_detects_deletes(written):
    (found,) = written(lambda: [tag.delete() for tag in Job.objects.all()])
    assert "Job rows were deleted one by one" in found["clew.finding.about"]
    assert "filter(pk__in=[...]).delete()" in found["clew.finding.fix"]


def test_deletes_are_of_the_objects_and_not_of_what_goes_with_them(written):
    keys = list(Author.objects.values_list("pk", flat=True))
    (found,) = written(lambda: [Author.objects.filter(pk=pk).delete() for pk in keys])
    assert found["clew.finding.about"].startswith("Author rows were deleted one by one: 12 ")
    assert found["clew.finding.fix"] == "delete them at once: Author.objects.filter(pk__in=[...]).delete()"


def test_detects_deletes_of_querysets(written):
    assert written(lambda: [Job.objects.filter(name=f"job {n}").delete() for n in range(10)])


@pytest.mark.parametrize("first", [0, 100], ids=["there", "new"])
def test_detects_get_or_create(written, first):
    def ensure():
        for n in range(first, first + 12):
            Translation.objects.get_or_create(key=f"key {n}", defaults={"text": "text"})

    (found,) = written(ensure)
    assert "ignore_conflicts" in found["clew.finding.fix"]


def test_detects_update_or_create(written):
    def ensure():
        for n in range(12):
            Translation.objects.update_or_create(key=f"key {n}", defaults={"text": "new"})

    (found,) = written(ensure)
    assert "update_conflicts" in found["clew.finding.fix"]


def test_detects_adding_to_many_to_many(written):
    def tag_each():
        tag = Tag.objects.create(name="all")
        for post in Post.objects.all():
            post.tags.add(tag)

    (found,) = written(tag_each)
    assert "bulk_create" in found["clew.finding.fix"]


def test_detects_raw_sql(written):
    def insert_each():
        with connection.cursor() as cursor:
            for n in range(10):
                cursor.execute("INSERT INTO corpus_tag (name) VALUES (%s)", [str(n)])

    (found,) = written(insert_each)
    assert "executemany" in found["clew.finding.fix"]


def test_detects_from_the_settings_threshold_on(written):
    assert written(create_each, write_in_loop_threshold=5)
    assert not written(create_each, write_in_loop_threshold=11)


def test_no_false_positive_a_few(written):
    assert not written(lambda: [Job.objects.create(name=f"new {n}", due=DAY) for n in range(9)])


def test_no_false_positive_batches_of_bulk_create(written):
    assert not written(lambda: Tag.objects.bulk_create([Tag(name=f"new {n}") for n in range(40)], batch_size=3))


def test_no_false_positive_batches_of_one(written):
    assert not written(lambda: Tag.objects.bulk_create([Tag(name=f"new {n}") for n in range(20)], batch_size=1))


def test_no_false_positive_chunks(written):
    def load():
        for _ in range(12):
            Tag.objects.bulk_create([Tag(name="one"), Tag(name="two")])

    assert not written(load)


def test_no_false_positive_batches_of_bulk_update(written):
    assert not written(lambda: Post.objects.bulk_update(list(Post.objects.all()), ["title"], batch_size=1))


def test_no_false_positive_cascade(written):
    assert not written(lambda: Country.objects.all().delete())


def test_no_false_positive_cascade_in_batches(written):
    Tag.objects.bulk_create([Tag(name=f"new {n}") for n in range(1500)])
    assert not written(lambda: Tag.objects.filter(name__startswith="new").delete())


def test_no_false_positive_executemany(written):
    def insert_all():
        with connection.cursor() as cursor:
            for _ in range(12):
                cursor.executemany("INSERT INTO corpus_tag (name) VALUES (%s)", [["a"], ["b"]])

    assert not written(insert_all)


def test_no_false_positive_inherited(written):
    assert not written(lambda: [Restaurant.objects.create(name=f"new {n}") for n in range(12)])


def test_no_false_positive_many_to_many_at_once(written):
    assert not written(lambda: Post.objects.first().tags.set(Tag.objects.all()))


def test_no_false_positive_different_lines(written):
    def seed():
        author = Author.objects.first()
        post = Post.objects.first()
        Comment.objects.create(post=post, author=author, text="1")
        Comment.objects.create(post=post, author=author, text="2")
        Comment.objects.create(post=post, author=author, text="3")

    assert not written(seed, write_in_loop_threshold=2)


def test_detects_rows_that_are_written_several_times(written):
    def touch_each():
        for tag in Tag.objects.all():
            for step in range(3):
                tag.name = f"{tag.name}{step}"
                tag.save(update_fields=["name"])

    (found,) = written(touch_each)
    assert found["clew.finding.query_count"] == 36
    assert 'Tag.objects.bulk_update([...], ["name"])' in found["clew.finding.fix"]


def test_detects_computed_updates(written):
    (found,) = written(lambda: [Track.objects.filter(pk=each.pk).update(seconds=F("seconds") + 1) for each in tracks()])
    assert "Track.objects.filter(pk__in=[...]).update(seconds=...)" in found["clew.finding.fix"]


def tracks():
    return list(Track.objects.all())


def test_names_the_manager_and_the_table_between(written):
    (found,) = written(lambda: [Genre.live.create(name=f"new {n}") for n in range(10)])
    assert "Genre.live.bulk_create([...])" in found["clew.finding.fix"]
    (found,) = written(add)
    assert "Post.tags.through.objects.bulk_create([...])" in found["clew.finding.fix"]


def add():
    tag = Tag.objects.first()
    for post in Post.objects.all():
        post.tags.add(tag)


def test_upserts_name_their_fields(written):
    def ensure():
        for n in range(12):
            Translation.objects.update_or_create(key=f"key {n}", defaults={"text": "new"})

    (found,) = written(ensure)
    assert 'unique_fields=["key"], update_fields=["text"]' in found["clew.finding.fix"]


def test_upserts_of_what_is_not_unique_are_told_no_conflicts(written):
    (found,) = written(lambda: [Tag.objects.get_or_create(name=f"tag {n}") for n in range(12)])
    assert "conflicts" not in found["clew.finding.fix"]


def progress():
    job = Job.objects.first()
    for n in range(30):
        Job.objects.filter(pk=job.pk).update(state=str(n))


def progress_by_save():
    job = Job.objects.first()
    for n in range(30):
        job.state = str(n)
        job.save(update_fields=["state"])


def heartbeats_of_three_jobs():
    for _ in range(10):
        for job in Job.objects.all()[:3]:
            Job.objects.filter(pk=job.pk).update(due=DAY)


def chunks_of_updates():
    keys = list(Post.objects.values_list("pk", flat=True))
    for start in range(0, 12, 1):
        Post.objects.filter(pk__in=[keys[start], keys[start - 1]]).update(body="x")


def chunks_of_deletes():
    Tag.objects.bulk_create([Tag(name="old") for _ in range(40)])
    while keys := list(Tag.objects.filter(name="old").values_list("pk", flat=True)[:3]):
        Tag.objects.filter(pk__in=keys).delete()


def updates_of_groups():
    Post.objects.update(author=Author.objects.first())
    for n in range(12):
        Post.objects.filter(author=Author.objects.first()).update(body=str(n))


def queue():
    while job := Job.objects.filter(state="new").order_by("pk").first():
        job.state = "done"
        job.save(update_fields=["state"])


def queue_with_locks():
    for job in Job.objects.select_for_update(skip_locked=connection.features.has_select_for_update_skip_locked)[:12]:
        job.state = "done"
        job.save()


def claims():
    for job in Job.objects.all():
        if Job.objects.filter(pk=job.pk, state="new").update(state="running"):
            job.name = "claimed"


def tree():
    parent = None
    for n in range(12):
        parent = Category.objects.create(name=str(n), parent=parent)


def tree_numbers():
    for n in range(12):
        Track.objects.filter(position__gte=1).update(position=F("position") + n)


@pytest.mark.parametrize(
    "function",
    [
        progress,
        progress_by_save,
        heartbeats_of_three_jobs,
        chunks_of_updates,
        chunks_of_deletes,
        updates_of_groups,
        queue,
        queue_with_locks,
        claims,
        tree,
        tree_numbers,
    ],
)
def test_no_false_positive_rows_not_statements(written, function):
    assert not written(function)
