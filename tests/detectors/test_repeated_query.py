from __future__ import annotations

import datetime
import decimal
import time
import uuid

import pytest
from django.db import connection
from django.template import engines

from clew.detectors.parameters import digest
from clew.sql.statement import statement
from tests.detectors.corpus.models import Author, Country, Job, Post, Translation


@pytest.fixture
def repeated(findings_of):
    return lambda function, **settings: findings_of("repeated_query", function, **settings)


def text_of(key):
    return Translation.objects.get(key=key).text


def test_detects_three_lines_that_ask_the_same(repeated):
    def ask():
        Author.objects.count()
        list(Country.objects.all())
        Author.objects.count()
        return Author.objects.count()

    (found,) = repeated(ask)
    assert "3 times" in found["clew.finding.about"]
    assert found["clew.finding.query_count"] == 3
    assert len(found["clew.finding.lines"]) == 3
    assert "variable" in found["clew.finding.fix"]


def test_detects_a_helper_called_from_everywhere(repeated):
    def ask():
        one = text_of("key 1")
        two = [text_of("key 1") for _ in range(2)]
        return one, two, text_of("key 1")

    (found,) = repeated(ask)
    assert found["clew.finding.query_count"] == 4
    assert found["site"].path == __file__


def test_detects_one_loop(repeated):
    (found,) = repeated(lambda: [Author.objects.get(name="author 1") for _ in range(5)])
    assert found["clew.finding.query_count"] == 5


def test_detects_a_queryset_made_anew_in_a_template(repeated):
    source = "{% for each in posts.all %}{% endfor %}{{ posts.all|length }}{% if posts.all %}{% endif %}"
    template = engines["django"].from_string(source)
    (found,) = repeated(lambda: template.render({"posts": Post.objects}))
    assert found["clew.finding.query_count"] == 3


def test_detects_a_relation_of_one_object(repeated):
    def ask():
        post = Post.objects.first()
        return [list(post.comments.all()) for _ in range(3)]

    (found,) = repeated(ask)
    assert found["clew.finding.model"] == "Post.comments"


def test_detects_raw_sql(repeated):
    def ask():
        for _ in range(3):
            with connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM corpus_post WHERE title = 'post 1'")

    assert repeated(ask)


def test_detects_what_is_written_elsewhere(repeated):
    def ask():
        Job.objects.update(state="done")
        return [Author.objects.count() for _ in range(3)]

    assert repeated(ask)


def test_detects_from_the_settings_threshold_on(repeated):
    def ask():
        return [Author.objects.count() for _ in range(4)]

    assert repeated(ask, repeated_query_threshold=4)
    assert not repeated(ask, repeated_query_threshold=5)


def test_no_false_positive_twice(repeated):
    assert not repeated(lambda: (Author.objects.count(), Author.objects.count()))


def test_no_false_positive_other_parameters(repeated):
    assert not repeated(lambda: [Author.objects.get(name=f"author {n}") for n in range(5)])


def test_no_false_positive_other_pages(repeated):
    assert not repeated(lambda: [list(Author.objects.order_by("pk")[n : n + 2]) for n in range(0, 8, 2)])


def test_no_false_positive_other_literals_in_raw_sql(repeated):
    def ask():
        for n in range(5):
            with connection.cursor() as cursor:
                cursor.execute(f"SELECT count(*) FROM corpus_post WHERE id = {n}")

    assert not repeated(ask)


def test_no_false_positive_written_in_between(repeated):
    def ask():
        for n in range(5):
            Author.objects.get(name="author 1")
            Author.objects.filter(name="author 1").update(bio=str(n))

    assert not repeated(ask)


def test_no_false_positive_refresh(repeated):
    def ask():
        author = Author.objects.first()
        for _ in range(5):
            author.refresh_from_db()

    assert not repeated(ask)


def test_no_false_positive_polling(repeated):
    def ask():
        for _ in range(5):
            if not Job.objects.filter(state="new").exists():
                break
            time.sleep(0)

    assert not repeated(ask)


def test_no_false_positive_random(repeated):
    assert not repeated(lambda: [Author.objects.order_by("?").first() for _ in range(5)])


def test_no_false_positive_lock(repeated):
    assert not repeated(lambda: [Job.objects.select_for_update().filter(state="new").first() for _ in range(5)])


def test_no_false_positive_without_tables(repeated):
    def ask():
        for _ in range(5):
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")

    assert not repeated(ask)


def test_no_false_positive_objects_with_the_same_relation(repeated):
    def ask():
        Post.objects.update(author=Author.objects.first())
        return [post.author.name for post in Post.objects.all()]

    assert not repeated(ask)


def test_no_false_positive_parameters_of_unknown_types(repeated):
    class Text:
        def __str__(self):
            raise AssertionError("evaluated")

        __eq__ = __hash__ = __bool__ = __str__

    def ask():
        for _ in range(4):
            with connection.cursor() as cursor, pytest.raises(Exception, match=r"type|Text"):
                cursor.execute("SELECT count(*) FROM corpus_post WHERE title = %s", [Text()])

    assert not repeated(ask)


KNOWN = (
    1,
    "a",
    1.5,
    True,
    None,
    b"a",
    uuid.UUID(int=1),
    decimal.Decimal(1),
    datetime.date(2024, 1, 1),
    [1, (2,)],
    {"a": 1},
)


TEXT = statement("SELECT name FROM t WHERE a = %s", has_parameters=True, is_from_orm=False)


def digest_of(*params):
    return digest(TEXT, params)


@pytest.mark.parametrize("value", KNOWN, ids=repr)
def test_digest_of_known_types(value):
    assert digest_of(value) == digest_of(value)
    assert digest_of(value) not in (None, digest_of("another"))


def test_digest_tells_numbers_apart():
    assert digest_of(-1) != digest_of(-2)
    assert digest_of(-1.0) != digest_of(-2.0)


def test_digest_takes_subclasses_of_int_and_str_for_what_they_are():
    class Wrapped(int):
        def __int__(self):
            raise AssertionError("called")

        __hash__ = __eq__ = __index__ = __int__

    class Label(str):
        def __str__(self):
            raise AssertionError("called")

        __hash__ = __eq__ = __str__

    assert digest_of(Wrapped(7)) == digest_of(7)
    assert digest_of(Label("a")) == digest_of("a")


def test_digest_of_unknown_types_is_none():
    assert digest_of(object()) is None
    assert digest_of(decimal.Decimal("sNaN")) is None


def test_detects_from_the_first_run_after_a_write_on(repeated):
    def ask():
        Author.objects.update(bio="new")
        return [Author.objects.count() for _ in range(3)]

    (found,) = repeated(ask)
    assert found["clew.finding.query_count"] == 3


def test_detects_what_is_read_between_writes_elsewhere(repeated):
    def ask():
        Author.objects.update(bio="new")
        for _ in range(3):
            Author.objects.count()
            Job.objects.update(state="done")

    (found,) = repeated(ask)
    assert found["clew.finding.query_count"] == 3


def test_no_false_positive_a_write_before_each_run(repeated):
    def ask():
        for _ in range(4):
            Author.objects.count()
            Author.objects.update(bio="new")

    assert not repeated(ask)


def test_no_false_positive_a_write_before_the_second_run(repeated):
    def ask():
        Author.objects.count()
        Author.objects.update(bio="new")
        return Author.objects.count(), Author.objects.count()

    assert not repeated(ask)
