"""One loop that is to blame for many findings is told once, with every place."""

from __future__ import annotations

import pytest
from opentelemetry import trace as otel

from clew.testing import tracing
from tests.detectors.corpus.models import Author, Category, Post, Tag
from tests.detectors.corpus.rows import make
from tests.others_code import installed
from tests.shared import line_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def rows():
    make(12)


def describe(post):
    names = [post.author.name]
    names.append(post.editor.name)
    names.append(post.category.name)
    for tag in post.tags.all():
        names.append(tag.color.name)
    names.append(post.comments.count())
    return names


def one_loop():
    return [describe(post) for post in Post.objects.all()]


def again_and_again():
    """Four loops, in one that only tries again."""
    for _ in range(1):
        for post in Post.objects.all():
            assert post.author.name
        for author in Author.objects.all():
            assert author.country.name
        for tag in Tag.objects.all():
            assert tag.color.name
        for category in Category.objects.all():
            assert category.parent_id is None or category.parent.name


def loops_within():
    """As a library does that goes through the fields of each object."""
    for post in Post.objects.all():
        for name in ("author",):
            assert getattr(post, name).name
        for name in ("editor",):
            assert getattr(post, name).name
        for name in ("category",):
            assert getattr(post, name).name
        for _ in range(1):
            assert post.comments.count()


def three_places():
    for post in Post.objects.all():
        assert post.author.name
        assert post.editor.name
        assert post.comments.count()


def writes_too():
    for post in Post.objects.all():
        describe(post)
        post.save()


def run(function, *kinds):
    with tracing() as trace:
        with otel.get_tracer("tests").start_as_current_span("root"):
            function()
        return trace, [each for each in trace.findings if each.type in kinds]


def test_places_of_one_loop_are_one_finding(rows):
    trace, (finding,) = run(one_loop, "n_plus_one")
    root, held = trace.named("root"), finding.attributes()
    # The tags' colors, in the loop within, are of the posts' loop, too.
    for name in ("Post.author", "Post.editor", "Post.category", "Post.tags", "Tag.color", "Post.comments"):
        assert name in held["clew.finding.about"]
    assert held["clew.finding.about"].startswith("6 places of one loop, ")
    assert held["clew.finding.place_count"] == 6
    assert held["clew.finding.query_count"] == 12 * 5 + 24
    assert len(held["clew.finding.places"]) == 6
    (editor,) = [place for place in held["clew.finding.places"] if "Post.editor" in place]
    assert editor.startswith(f"{__file__}:{line_of(describe, 'editor')}: N+1: Post.editor was loaded one by one, 12 ")
    assert 'add .select_related("editor")' in editor
    assert held["code.line.number"] == line_of(one_loop, "for post")
    assert root.attributes["clew.n_plus_one.count"] == 1
    assert len([line for line in root.attributes["clew.warnings"] if line.startswith("n_plus_one")]) == 1
    # Where each was, its span says it, with its own way to mend it.
    said = [span for span in trace.spans if span is not root and "clew.finding.n_plus_one" in span.attributes]
    assert len(said) == 6
    assert all(span.attributes["clew.warnings"][0].startswith("n_plus_one: N+1: ") for span in said)


@pytest.mark.parametrize("function", [again_and_again, three_places])
def test_loops_of_their_own_and_a_few_places_are_a_finding_each(rows, function):
    trace, findings = run(function, "n_plus_one")
    assert len(findings) == trace.named("root").attributes["clew.n_plus_one.count"] >= 3
    assert all("clew.finding.places" not in finding.attributes() for finding in findings)


def test_loops_within_the_loop_over_objects_are_one_finding(rows):
    _, (finding,) = run(loops_within, "n_plus_one")
    held = finding.attributes()
    assert held["clew.finding.about"].startswith("4 places of one loop, 48 times in all, ")
    assert held["code.line.number"] == line_of(loops_within, "for post")


PUBLISHING = """
def names_of(post):
    for name in ("author", "editor", "category"):
        assert getattr(post, name).name
    return post.comments.count()

def publish(posts):
    for post in posts:
        names_of(post)
"""


def test_a_librarys_loop_over_objects_is_one_too(rows):
    publish = installed(PUBLISHING)["publish"]
    _, (finding,) = run(lambda: publish(Post.objects.all()), "n_plus_one")
    held = finding.attributes()
    assert held["clew.finding.place_count"] == 4
    assert held["code.line.number"] == 8


def lookups_of_the_same():
    for post in Post.objects.all():
        assert Author.objects.exclude(pk=0).exists()
        assert Tag.objects.exclude(pk=0).exists()
        assert Category.objects.exclude(pk=0).exists()
        assert Post.objects.exclude(pk=0).exists(), post


def test_what_has_no_duration_says_none(rows):
    _, (finding,) = run(lookups_of_the_same, "repeated_query")
    assert finding.attributes()["clew.finding.about"].startswith("4 places of one loop, 48 times in all: ")


def test_each_type_is_told_apart(rows):
    _, findings = run(writes_too, "n_plus_one", "write_in_loop")
    assert [finding.type for finding in findings] == ["n_plus_one", "write_in_loop"]


def test_a_loop_of_a_template_is_one_too(rows):
    from django.template import Context, Template

    text = "{% for post in posts %}{{ post.author.name }}{{ post.editor.name }}{{ post.category.name }}"
    template = Template(text + "{{ post.comments.count }}{% endfor %}")
    _, (finding,) = run(lambda: template.render(Context({"posts": Post.objects.all()})), "n_plus_one")
    assert finding.attributes()["clew.finding.place_count"] == 4
