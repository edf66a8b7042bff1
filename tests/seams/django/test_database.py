"""Queries as spans: their line, their phase, their end; and an application that notices nothing."""

from __future__ import annotations

import asyncio
import sys
import threading

import pytest
from django.contrib.auth.models import Group, User
from django.db import DatabaseError, InterfaceError, connection, connections
from django.db.models.signals import post_save
from django.http import HttpResponse, StreamingHttpResponse
from django.template import engines
from django.test import AsyncClient, Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import path
from opentelemetry import trace as trace_api
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

from clew import setup_tracing
from clew.seams.django.database import SEAM
from clew.story import local_trace
from tests.shared import line_of

pytestmark = pytest.mark.django_db
# Before Python 3.11 code has no qualified name, and SQLite's refusal of a parameter is another error.
IS_OLD = sys.version_info < (3, 11)
VIEW = "view" if IS_OLD else "test_a_query_has_its_line_its_phase_and_its_names.<locals>.view"
REFUSED = InterfaceError if IS_OLD else DatabaseError


def get(view, **kwargs):
    urls = type("urls", (), {"urlpatterns": [path("", view)]})
    with override_settings(ROOT_URLCONF=urls, MIDDLEWARE=[]):
        return Client(**kwargs).get("/")


def queries(trace):
    return [span for span in trace.spans if span.instrumentation_scope.name == "clew.seams.django.database"]


def test_a_query_has_its_line_its_phase_and_its_names(trace):
    def view(request):
        list(Group.objects.filter(name="x"))
        return HttpResponse("ok")

    get(view)
    [query] = queries(trace)
    assert query.name == "SELECT auth_group"
    assert dict(query.attributes) == {
        "db.system.name": "sqlite",
        "db.namespace": connection.settings_dict["NAME"],
        "db.operation.name": "SELECT",
        "db.collection.name": "auth_group",
        "db.query.summary": "SELECT auth_group",
        "db.query.text": str(Group.objects.filter(name="%s").query),
        "db.response.returned_rows": 0,
        "django.db.alias": "default",
        "code.file.path": __file__,
        "code.line.number": line_of(view, "list("),
        "code.function.name": f"{__name__}.{VIEW}",
        "clew.db.phase": "view",
    }


def test_a_lazy_queryset_is_told_where_it_was_evaluated(trace):
    def view(request):
        groups = Group.objects.all()
        never = Group.objects.filter(name="never")
        later(groups)
        return HttpResponse("ok" if never is not None else "")

    def later(groups):
        return [group.name for group in groups]

    get(view)
    [query] = queries(trace)
    assert query.attributes["code.line.number"] == line_of(later, "for group in groups")


def test_a_template_names_its_own_line(trace):
    def view(request):
        template = engines["django"].from_string("<ul>\n{% for group in groups %}<li>{{ group }}{% endfor %}</ul>")
        return HttpResponse(template.render({"groups": Group.objects.all()}))

    get(view)
    [query] = queries(trace)
    assert query.attributes["code.line.number"] == 2
    assert query.attributes["clew.db.phase"] == "template"
    assert "code.function.name" not in query.attributes


def test_a_template_knows_how_many_queries_it_ran(trace):
    def view(request):
        template = engines["django"].from_string("{% for group in groups %}{{ group.user_set.count }}{% endfor %}")
        return HttpResponse(template.render({"groups": Group.objects.all()}))

    Group.objects.bulk_create([Group(name=str(number)) for number in range(3)])
    get(view)
    [template] = [span for span in trace.spans if span.name.startswith("template")]
    assert template.attributes["django.template.query_count"] == 4


def test_phases(trace):
    class Middleware:
        def __init__(self, get_response):
            self.get_response = get_response

        def __call__(self, request):
            Group.objects.count()
            return self.get_response(request)

    def receiver(sender, **kwargs):
        User.objects.count()

    def view(request):
        Group.objects.create(name="x")
        return HttpResponse("ok")

    urls = type("urls", (), {"urlpatterns": [path("", view)]})
    post_save.connect(receiver, sender=Group)
    globals()["middleware_for_phases"] = Middleware
    try:
        with override_settings(ROOT_URLCONF=urls, MIDDLEWARE=[f"{__name__}.middleware_for_phases"]):
            Client().get("/")
    finally:
        post_save.disconnect(receiver, sender=Group)
    assert [(query.name, query.attributes["clew.db.phase"]) for query in queries(trace)] == [
        ("SELECT auth_group", "middleware"),
        ("INSERT auth_group", "view"),
        ("SELECT auth_user", "signal"),
    ]


def test_equal_queries_of_one_line_are_one_span(trace):
    def view(request):
        for number in range(7):
            Group.objects.filter(pk=number).first()
        Group.objects.filter(pk=1).first()
        return HttpResponse("ok")

    get(view)
    folded, single = queries(trace)
    assert folded.attributes["clew.folded.count"] == 7
    assert folded.attributes["clew.folded.duration_ms"] >= folded.attributes["clew.folded.first_ms"]
    assert folded.attributes["clew.folded.last_ms"] > 0
    assert "clew.folded.count" not in single.attributes


def test_summaries_on_the_root(trace):
    def view(request):
        list(Group.objects.all())
        Group.objects.count()
        return HttpResponse("ok")

    Group.objects.bulk_create([Group(name=str(number)) for number in range(3)])
    get(view)
    root = trace.spans[-1].attributes
    assert root["clew.db.query_count"] == 2
    assert root["clew.db.duration_ms"] > 0
    assert root["clew.db.rows"] == 4
    assert not [name for name in root if name.startswith("clew.db.alias.")]


def test_an_error_is_on_the_query_and_reaches_the_application(trace):
    def view(request):
        with pytest.raises(DatabaseError), connection.cursor() as cursor:
            cursor.execute("SELECT nothing FROM nowhere")
        return HttpResponse("ok")

    assert get(view).status_code == 200
    [query] = queries(trace)
    assert query.status.status_code is trace_api.StatusCode.ERROR
    assert query.attributes["error.type"] == "django.db.utils.OperationalError"
    assert [event.name for event in query.events] == ["exception"]


def test_executemany_and_raw_sql(trace):
    def view(request):
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO auth_group (name) VALUES (%s)", [["a"], ["b"]])
            cursor.execute("SELECT 'hunter2', 42 FROM auth_group")
        return HttpResponse("ok")

    get(view)
    many, raw = queries(trace)
    assert many.attributes["db.operation.name"] == "BATCH INSERT"
    assert many.attributes["db.operation.batch.size"] == 2
    assert raw.attributes["db.query.text"] == "SELECT ?, ? FROM auth_group"


def test_parameters_are_recorded_only_when_asked_for():
    from clew.testing import tracing

    def view(request):
        list(Group.objects.filter(name="hunter2"))
        return HttpResponse("ok")

    for wanted in (False, True):
        with tracing(database_parameters=wanted) as trace:
            get(view)
        [query] = queries(trace)
        assert query.attributes.get("db.query.parameter.0") == ("'hunter2'" if wanted else None)


def test_nothing_lazy_is_evaluated(trace):
    def evaluated():
        raise AssertionError("evaluated by clew")

    def view(request):
        never = Group.objects.all()
        for _ in range(6):
            with connection.cursor() as cursor, pytest.raises(REFUSED):
                cursor.execute("SELECT * FROM auth_group WHERE name = %s", [Unprintable()])
        assert never._result_cache is None
        return HttpResponse("ok")

    class Unprintable:
        def __repr__(self):
            return evaluated()

        __str__ = __hash__ = __eq__ = __repr__

    assert get(view).status_code == 200


def test_the_application_sees_the_same_queries(trace, django_assert_num_queries):
    def view(request):
        with CaptureQueriesContext(connection) as captured:
            list(Group.objects.all())
            Group.objects.create(name="x")
        return HttpResponse(" | ".join(query["sql"] for query in captured))

    with django_assert_num_queries(2):
        traced = get(view).content
    SEAM.uninstall()
    try:
        Group.objects.all().delete()
        assert get(view).content == traced
    finally:
        SEAM.install()


def test_the_applications_own_wrappers_stay_the_only_ones(trace):
    seen = []

    def wrapper(execute, sql, params, many, context):
        seen.append(sql)
        return execute(sql, params, many, context)

    def view(request):
        assert connection.execute_wrappers == []
        with connection.execute_wrapper(wrapper):
            assert connection.execute_wrappers == [wrapper]
            Group.objects.count()
        return HttpResponse("ok")

    assert get(view).status_code == 200
    assert len(seen) == len(queries(trace)) == 1


def test_uninstalling_restores_the_identical_functions():
    from django.db.backends import utils
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models.sql.compiler import SQLCompiler

    before = (
        vars(utils.CursorWrapper)["_execute_with_wrappers"],
        vars(utils.CursorWrapper)["callproc"],
        vars(BaseDatabaseWrapper)["connect"],
        vars(SQLCompiler)["execute_sql"],
    )
    setup_tracing(tracer_provider=TracerProvider()).shutdown()
    assert before == (
        vars(utils.CursorWrapper)["_execute_with_wrappers"],
        vars(utils.CursorWrapper)["callproc"],
        vars(BaseDatabaseWrapper)["connect"],
        vars(SQLCompiler)["execute_sql"],
    )


def test_iterator_reads_as_before_and_its_rows_are_counted(trace):
    def view(request):
        first = next(iter(Group.objects.order_by("pk").iterator(chunk_size=2)))
        names = [group.name for group in Group.objects.order_by("pk").iterator(chunk_size=2)]
        return HttpResponse(",".join([first.name, *names]))

    Group.objects.bulk_create([Group(name=f"g{number}") for number in range(5)])
    assert get(view).content == b"g0,g0,g1,g2,g3,g4"
    assert [query.attributes["db.response.returned_rows"] for query in queries(trace)] == [2, 5]


def test_a_streamed_body_has_its_queries(trace):
    def view(request):
        return StreamingHttpResponse(str(Group.objects.filter(pk=number).count()) for number in range(3))

    assert b"".join(get(view).streaming_content) == b"000"
    [query] = queries(trace)
    assert query.attributes["clew.folded.count"] == 3
    assert trace.spans[-1].attributes["clew.db.query_count"] == 3


@pytest.mark.django_db(transaction=True)
def test_an_async_view_names_the_line_that_awaited(trace):
    async def view(request):
        await Group.objects.filter(pk=1).afirst()
        async for _ in Group.objects.all():
            pass
        return HttpResponse("ok")

    urls = type("urls", (), {"urlpatterns": [path("", view)]})
    with override_settings(ROOT_URLCONF=urls, MIDDLEWARE=[]):
        asyncio.run(AsyncClient().get("/"))
    assert [query.attributes["code.line.number"] for query in queries(trace)] == [
        line_of(view, "afirst"),
        line_of(view, "async for"),
    ]


def test_a_thread_without_a_request_is_left_alone(trace):
    done = []

    def work():
        done.append(local_trace.current())
        connections["default"].close()

    def view(request):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return HttpResponse("ok")

    get(view)
    assert done == [None]
    assert queries(trace) == []


def test_a_script_with_a_span_of_its_own_gets_its_queries_and_summaries(trace):
    with trace_api.get_tracer("script").start_as_current_span("nightly"):
        for number in range(6):
            Group.objects.filter(pk=number).first()
    (query,) = queries(trace)
    assert (query.name, query.attributes["clew.folded.count"]) == ("SELECT auth_group", 6)
    root = trace.named("nightly").attributes
    assert root["clew.db.query_count"] == 6
    assert root["clew.n_plus_one.count"] == 1


def test_an_unsampled_request_is_counted_and_leaves_no_span():
    from clew.story import findings

    def view(request):
        for number in range(20):
            Group.objects.filter(pk=number).first()
        counts.append(local_trace.current().queries.count)
        return HttpResponse("ok")

    counts, found = [], []
    handle = setup_tracing(tracer_provider=TracerProvider(sampler=ParentBased(ALWAYS_OFF)))
    findings.listeners.append(found.extend)
    try:
        get(view)
    finally:
        findings.listeners.remove(found.extend)
        handle.shutdown()
    assert counts == [20]
    assert [finding.type for finding in found] == ["n_plus_one"]


@pytest.mark.django_db(transaction=True)  # queries inside a transaction are not only counted
def test_the_rows_of_a_counted_query_are_not_those_of_a_query_before():
    def view(request):
        for _ in range(20):  # until it is looked at no more, and only counted
            list(Group.objects.all())
        with connection.cursor() as cursor:
            cursor.execute("SELECT id FROM auth_group")  # SQLite does not say how many rows it has
        rows.append(local_trace.current().queries.rows)
        list(Group.objects.all())
        rows.append(local_trace.current().queries.rows)
        return HttpResponse("ok")

    rows = []
    Group.objects.bulk_create([Group(name="a"), Group(name="b"), Group(name="c")])
    handle = setup_tracing(tracer_provider=TracerProvider(sampler=ParentBased(ALWAYS_OFF)))
    try:
        get(view)
    finally:
        handle.shutdown()
    assert rows[1] == rows[0] > 0


def test_each_tenant_of_one_connection_has_its_own_name(trace):
    """django-tenants and the like change the connection's settings in place."""
    settings, before = connection.settings_dict, dict(connection.settings_dict)

    def view(request):
        for name, host in (("one", "db1"), ("two", "db2"), ("one", "db1")):
            settings.update(NAME=name, HOST=host)
            Group.objects.filter(name=name).exists()
        return HttpResponse("ok")

    try:
        get(view)
    finally:
        settings.update(before)
    said = [(span.attributes["db.namespace"], span.attributes["server.address"]) for span in queries(trace)]
    assert said == [("one", "db1"), ("two", "db2")]
