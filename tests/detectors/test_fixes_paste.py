"""Every fix is code: pasted into the case that made it, the finding is gone and the result the same.

A fix that changes only how objects are loaded is pasted by itself, where querysets of that model are evaluated. One
that also changes how they are read is pasted by hand, in corpus/mended.py: what the finding says stands there word by
word, with values for its `...`.
"""

from __future__ import annotations

import contextlib
import inspect
import re

import pytest
from django.db import models, transaction
from django.db.models.query import ModelIterable, QuerySet
from django.http import HttpResponseBase
from django.test import RequestFactory
from opentelemetry import trace as otel

from clew.testing import tracing
from tests.detectors.corpus import cases, mended  # noqa: F401
from tests.detectors.corpus.case import CASES
from tests.detectors.corpus.rows import make

LOADED = re.compile(
    r'^add \.(select_related|prefetch_related)\("(\w+)"\) to the queryset that loads the (\w+) objects(?: \(where|$)'
)
# What is said between backquotes, or begins a call on a model or a queryset.
CODE = re.compile(
    r"(?:\b[A-Z]\w+\.\w+|(?<=add ))\.\w+\((?:[^()]|\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\))*\)(?:\.\w+\([^()]*\))*"
)
# What the objects come through, which only the site knows.
THROUGH = {
    "forward_two_levels": ("select_related", "author__country", "Post"),
    "many_prefetched_but_not_deeper": ("prefetch_related", "tags__color", "Post"),
}
# Run inside a task, an admin, a form or a serializer of its own: the paste is tried on the others of their kind.
ELSEWHERE = {"Celery task", "admin", "REST serializer", "form", "async", "signals"}


@pytest.fixture
def run(db):
    """Says what a function returns, as plain values, and what is found."""
    make(6)
    with tracing(n_plus_one_threshold=5) as trace:

        def ran(function):
            trace.clear()
            with transaction.atomic():
                with otel.get_tracer("tests").start_as_current_span("root"):
                    returned = plain(function(RequestFactory().get("/")))
                transaction.set_rollback(True)
            found = [finding for finding in trace.findings if finding.type == "n_plus_one"]
            assert all(finding.attributes() for finding in found)
            return returned, found

        yield ran


def plain(value):
    if isinstance(value, HttpResponseBase):
        value = getattr(value, "render", lambda: value)()
        return b"".join(value).decode()
    if isinstance(value, models.Model):
        return type(value).__name__, value.pk
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, (str, bytes, int, float, type(None))):
        return value
    return [plain(each) for each in value] if hasattr(value, "__iter__") else str(value)


@contextlib.contextmanager
def pasted(fixes):
    """Querysets of the model are evaluated with the call that a fix says."""
    original, inside = QuerySet._fetch_all, []

    def fetch_all(queryset):
        # What a prefetch asks for is not the site's own.
        for method, path, model in () if inside else fixes:
            if queryset._result_cache is None and is_of(queryset, model):
                changed = getattr(queryset._chain(), method)(path)
                queryset._query = changed._query
                queryset._prefetch_related_lookups = changed._prefetch_related_lookups
        inside.append(queryset)
        try:
            original(queryset)
        finally:
            inside.pop()

    def iterator(queryset, chunk_size=100):
        for method, path, model in fixes:
            queryset = getattr(queryset, method)(path) if is_of(queryset, model) else queryset
        return iterated(queryset, chunk_size)

    iterated = QuerySet.iterator
    QuerySet._fetch_all, QuerySet.iterator = fetch_all, iterator
    try:
        yield
    finally:
        QuerySet._fetch_all, QuerySet.iterator = original, iterated


def is_of(queryset, model):
    is_plain = queryset._iterable_class is ModelIterable
    return is_plain and queryset.model.__name__ == model and queryset.query.deferred_loading[1]


def bad_cases():
    return [case for case in CASES.values() if case.at_five and not case.path and case.kind not in ELSEWHERE]


def test_fixes_that_only_load(run):
    tried, wrong = 0, []
    for case in bad_cases():
        before, found = run(case.function)
        fixes = [LOADED.match(finding.fix) for finding in found]
        if not fixes or not all(fixes):
            continue
        tried += 1
        with pasted([THROUGH[case.name]] if case.name in THROUGH else [fix.groups() for fix in fixes]):
            after, left = run(case.function)
        if left or before != after:
            wrong.append(f"{case.name}: {[fix[0] for fix in fixes]}, left: {[each.message for each in left]}")
    assert tried >= 50
    assert not wrong, "\n".join(wrong)


def test_fixes_that_change_the_reading(run):
    wrong = []
    for name, function in mended.MENDED.items():
        before, found = run(CASES[name].function)
        source = squeezed(inspect.getsource(function))
        codes = [code for finding in found for code in CODE.findall(finding.fix)]
        after, left = run(function)
        missing = [code for code in codes if not re.search(pattern(code), source)]
        if not codes or missing or left or before != after:
            wrong.append(f"{name}: {[each.fix for each in found]}, missing: {missing}, left: {left}, {before == after}")
    assert not wrong, "\n".join(wrong)


def squeezed(text):
    return re.sub(r",(?=[)\]])", "", re.sub(r"\s+", "", text))


def pattern(code):
    """`...` stands for whatever the application knows."""
    return re.escape(squeezed(code)).replace(re.escape("[...]"), ".+?").replace(re.escape("..."), ".+?")
