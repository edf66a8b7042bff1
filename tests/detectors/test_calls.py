"""Calls to another service, one by one or again and again, over real clients with their instrumentations."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from asgiref.sync import sync_to_async
from django.http import HttpResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import path
from opentelemetry import trace as otel

from clew.settings import FIELDS
from clew.testing import tracing

httpx = pytest.importorskip("httpx")
requests = pytest.importorskip("requests")
for each in ("requests", "urllib", "urllib3", "httpx"):
    pytest.importorskip(f"opentelemetry.instrumentation.{each}")
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor  # noqa: E402
from opentelemetry.instrumentation.requests import RequestsInstrumentor  # noqa: E402

from tests.celery_site.app import make_app  # noqa: E402
from tests.detectors.calls import GETS, PAGES, Service, instrumented, served  # noqa: E402

pytestmark = pytest.mark.django_db(transaction=True)
LOOP, SAME = "call_in_loop", "repeated_call"


@pytest.fixture
def url():
    with served() as address:
        yield address


@pytest.fixture(params=GETS)
def get(request):
    kind, function = GETS[request.param]
    with instrumented(kind):
        yield function


@pytest.fixture
def both():
    with instrumented(RequestsInstrumentor, HTTPXClientInstrumentor):
        yield


def visit(body, **settings):
    """What is found in a request whose view runs `body`, sync or async: type, count and message."""
    if asyncio.iscoroutinefunction(body):

        async def view(request):
            await body()
            return HttpResponse("ok")

        def run():
            return asyncio.run(AsyncClient().get("/shop/7/"))
    else:

        def view(request):
            body()
            return HttpResponse("ok")

        def run():
            return Client().get("/shop/7/")

    urls = type("urls", (), {"urlpatterns": [path("shop/<int:number>/", lambda request, number: view(request))]})
    if asyncio.iscoroutinefunction(view):

        async def routed(request, number):
            return await view(request)

        urls.urlpatterns = [path("shop/<int:number>/", routed)]
    with tracing(**settings) as trace, override_settings(ROOT_URLCONF=urls, MIDDLEWARE=[]):
        assert run().content == b"ok"
    for each in trace.findings:
        each.attributes()
    visit.trace = trace
    return [each for each in trace.findings if each.type in (LOOP, SAME)]


def told(findings):
    return [(each.type, each.evidence["count"]) for each in findings]


# One by one.


def test_detects_a_loop_with_each_client(url, get):
    def body():
        for sku in range(7):
            get(f"{url}/stock/{sku}")

    (finding,) = visit(body)
    assert told([finding]) == [(LOOP, 7)]
    assert finding.evidence["call"] == f"GET {url}/stock/{{}}"
    assert finding.evidence["duration_ms"] > 0
    assert finding.message.startswith(f"7 calls, one after another, of http (GET {url}/stock/{{}}) from one line: ")
    spans = [span for span in visit.trace.spans if span.kind.name == "CLIENT"]
    assert len(spans) == 7
    assert [dict(span.attributes).get("clew.finding.call_in_loop") for span in spans] == [None] * 4 + [True, None, None]
    assert {span.attributes["http.route"] for span in spans} == {"shop/<int:number>/"}
    assert {span.attributes["clew.phase"] for span in spans} == {"view"}
    root = visit.trace.named("GET shop/<int:number>/").attributes
    assert root["clew.external.http.count"] == root["clew.external.count"] == 7


def loops(url):
    def get(sku):
        return requests.get(f"{url}/stock/{sku}", timeout=30)

    class Price:
        def __init__(self, sku):
            self.sku = sku

        @property
        def now(self):
            return requests.get(f"{url}/price/{self.sku}", timeout=30).json()

    def words():
        for sku in ("a", "b", "c", "d", "e", "f"):
            get(sku)

    def comprehension():
        return [get(sku) for sku in range(6)]

    def generator():
        return sum(len(get(sku).content) for sku in range(6))

    def mapped():
        return list(map(get, range(6)))

    def objects():
        for price in [Price(number) for number in range(6)]:
            assert price.now

    def sent():
        for order in [{"id": number} for number in range(6)]:
            requests.post(f"{url}/orders", json=order, timeout=30)

    def by_query():
        for sku in "abcdef":
            requests.get(f"{url}/stock", params={"sku": sku}, timeout=30)

    def rows():
        for row in [(number, "name") for number in range(6)]:
            get(row[0])

    def enumerated():
        for _number, sku in enumerate("abcdef"):
            get(sku)

    def absent():
        for sku in range(6):
            requests.get(f"{url}/absent/{sku}?times=9&status=404", timeout=30)

    def with_session():
        with requests.Session() as session:
            for sku in range(6):
                session.get(f"{url}/stock/{sku}", timeout=30)

    def after_a_with():
        def stock(sku):
            with contextlib.suppress(KeyError):
                url.upper()
            return get(sku)

        for sku in range(6):
            stock(sku)

    return [
        after_a_with,
        words,
        comprehension,
        generator,
        mapped,
        objects,
        sent,
        by_query,
        rows,
        enumerated,
        absent,
        with_session,
    ]


@pytest.mark.parametrize("number", range(12))
def test_detects_each_kind_of_loop(url, both, number):
    assert told(visit(loops(url)[number])) == [(LOOP, 6)]


def test_detects_an_asynchronous_loop(url, both):
    async def body():
        async with httpx.AsyncClient() as client:
            for sku in range(6):
                await client.get(f"{url}/stock/{sku}")

    (finding,) = visit(body)
    assert told([finding]) == [(LOOP, 6)]
    assert finding.site.function.endswith("body") or not finding.site.function
    assert "await asyncio.gather(*[client.get(f'{url}/stock/{sku}') for sku in range(6)])" in finding.fix


def test_detects_a_loop_that_waits_for_threads(url, both):
    async def body():
        for sku in range(6):
            await sync_to_async(requests.get)(f"{url}/stock/{sku}", timeout=30)

    assert told(visit(body)) == [(LOOP, 6)]


def test_the_thresholds_are_settings(url, both):
    def body():
        for sku in range(3):
            requests.get(f"{url}/stock/{sku}", timeout=30)

    assert visit(body) == []
    assert told(visit(body, call_in_loop_threshold=3)) == [(LOOP, 3)]

    def same():
        requests.get(f"{url}/rates", timeout=30)
        requests.get(f"{url}/rates", timeout=30)

    assert visit(same) == []
    assert told(visit(same, repeated_call_threshold=2)) == [(SAME, 2)]


def test_the_fix_mends_it_with_threads(url, both):
    def body():
        answers = []
        for sku in range(6):
            answers.append(requests.get(f"{url}/stock/{sku}", timeout=30))
        seen.append([each.json() for each in answers])

    seen = []
    (finding,) = visit(body)
    code = finding.fix.split("`")[1]
    assert code.startswith("with ThreadPoolExecutor(8) as pool: answers = list(pool.map(lambda sku: requests.get(")

    def mended():
        space = {"ThreadPoolExecutor": ThreadPoolExecutor, "requests": requests, "url": url}
        exec(code, space)
        seen.append([each.json() for each in space["answers"]])

    assert visit(mended) == []
    assert seen[0] == seen[1]


def test_the_fix_mends_it_with_tasks(url, both):
    async def body():
        async with httpx.AsyncClient() as client:
            seen.append([(await client.get(f"{url}/stock/{sku}")).json() for sku in range(6)])

    seen = []
    (finding,) = visit(body)
    code = finding.fix.split("`")[1]

    async def mended():
        async with httpx.AsyncClient() as client:
            space = {"asyncio": asyncio, "client": client, "url": url}
            exec(f"async def all(): {code}; return answers", space)
            seen.append([each.json() for each in await space["all"]()])

    assert visit(mended) == []
    assert seen[0] == seen[1]


# Not one by one.


def silent(url):
    def get(tail):
        return requests.get(f"{url}/{tail}", timeout=30)

    def poll():
        while not get("jobs/1?times=8").json()["done"]:
            pass

    def poll_that_counts():
        for _ in range(20):
            if get("jobs/2?times=8").json()["done"]:
                break

    def poll_that_sleeps():
        for _ in range(9):
            get("jobs/3")
            time.sleep(0)

    def accepted():
        for name in ("a", "b", "c", "d", "e", "f"):
            assert name
            get("jobs/4?times=9&status=202")

    def pages():
        for number in range(1, PAGES + 1):
            get(f"pages?page={number}&size=10")

    def cursor():
        following = 1
        while following:
            following = get(f"pages?cursor={following}").json()["next"]

    def cursors():
        def all_pages():
            following = 1
            while following:
                found = get(f"pages?cursor={following}").json()
                yield found
                following = found["next"]

        for each in all_pages():
            assert each

    def pages_by_path():
        for number in range(1, 9):
            get(f"items/page/{number}")

    def again():
        for _ in range(9):
            if get("busy?times=7&status=503").ok:
                return

    def again_for_each():
        for name in ("a", "b", "c"):
            for _ in range(4):
                if get(f"busy/{name}?times=2&status=500").ok:
                    break

    def stream():
        with requests.get(f"{url}/file", stream=True, timeout=30) as answer:
            for chunk in answer.iter_content(4):
                assert chunk

    def upload():
        for number, chunk in enumerate([b"x" * 10] * 8):
            requests.put(f"{url}/upload/{number}", data=chunk, timeout=30)

    def batches():
        ids = list(range(80))
        for start in range(0, len(ids), 10):
            requests.post(f"{url}/batch", json=ids[start : start + 10], timeout=30)

    def batches_by_query():
        for some in [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10], [11, 12]]:
            get("stock?ids=" + ",".join(map(str, some)))

    def threads():
        with ThreadPoolExecutor(2) as pool:
            contexts = [contextvars.copy_context() for _ in range(9)]
            list(pool.map(lambda context, number: context.run(get, f"stock/{number}"), contexts, range(9)))

    def lines():
        get("stock/1")
        get("stock/2")
        get("stock/3")
        get("stock/4")
        get("stock/5")
        get("stock/6")

    def crawl(number=1):
        found = get(f"items/{number}").json()
        if number < 8 and found:
            crawl(number + 1)

    def redirects_and_few():
        for number in range(4):
            get(f"stock/{number}")

    return [
        poll,
        poll_that_counts,
        poll_that_sleeps,
        accepted,
        pages,
        cursor,
        cursors,
        pages_by_path,
        again,
        again_for_each,
        stream,
        upload,
        batches,
        batches_by_query,
        threads,
        lines,
        crawl,
        redirects_and_few,
    ]


@pytest.mark.parametrize("number", range(18))
def test_no_false_positive(url, both, number):
    Service.seen.clear()
    assert told(visit(silent(url)[number])) == []
    assert Service.seen


def test_no_false_positive_tasks_at_the_same_time(url, both):
    async def body():
        async with httpx.AsyncClient() as client:
            await asyncio.gather(*[client.get(f"{url}/stock/{number}") for number in range(9)])

            async def one(number):
                await sync_to_async(requests.get)(f"{url}/price/{number}", timeout=30)

            await asyncio.gather(*map(one, range(9)))

    assert visit(body) == []


def test_no_false_positive_an_asynchronous_poll(url, both):
    async def body():
        async with httpx.AsyncClient() as client:
            for _ in range(20):
                if (await client.get(f"{url}/jobs/1?times=8")).json()["done"]:
                    break
                await asyncio.sleep(0)

    assert visit(body) == []


# The same again.


def test_detects_the_same_from_several_lines(url, get):
    def rate():
        return get(f"{url}/rates/eur?on=today")

    def body():
        rate()
        rate()
        rate()
        rate()

    (finding,) = visit(body)
    assert told([finding]) == [(SAME, 4)]
    assert f"http was asked the same (GET {url}/rates/eur?on={{}}) 4 times, " in finding.message


def test_detects_the_same_in_a_loop(url, both):
    def body():
        for name in ("a", "b", "c", "d", "e", "f", "g"):
            assert [name, requests.get(f"{url}/rates", timeout=30)]

    assert told(visit(body)) == [(SAME, 7)]


def test_detects_the_same_asynchronously(url, both):
    async def body():
        async with httpx.AsyncClient() as client:
            for name in ("a", "b", "c"):
                assert [name, await client.get(f"{url}/rates")]

    assert told(visit(body)) == [(SAME, 3)]


def test_no_false_positive_read_again_after_a_write(url, both):
    def body():
        for order in ({"id": 1}, {"id": 2}, {"id": 3}, {"id": 4}):
            requests.get(f"{url}/orders", timeout=30)
            requests.post(f"{url}/orders", json=order, timeout=30)

    assert visit(body) == []


def test_the_fix_of_the_same_mends_it(url, both):
    from django.core.cache import cache

    def body():
        for name in ("a", "b", "c"):
            assert [
                name,
                cache.get_or_set("rates", lambda: requests.get(f"{url}/rates", timeout=30).json(), timeout=60),
            ]

    cache.clear()
    assert visit(body) == []


# In a task, and where no seam of clew's stands.


def test_detects_a_loop_of_a_task(url, both):
    app = make_app(task_always_eager=True)

    @app.task(name="shop.tasks.sync_stock", shared=False)
    def sync_stock():
        for sku in range(6):
            requests.get(f"{url}/stock/{sku}", timeout=30)

    with tracing() as trace:
        sync_stock.delay()
    for each in trace.findings:
        each.attributes()
    assert told(trace.findings) == [(LOOP, 6)]
    calls = [span for span in trace.spans if span.kind.name == "CLIENT"]
    assert {span.attributes["celery.task_name"] for span in calls} == {"shop.tasks.sync_stock"}
    assert {span.attributes["clew.phase"] for span in calls} == {"task"}


def test_detects_a_loop_below_a_root_that_is_not_clews(url, both):
    off = {name: False for name in FIELDS if name.startswith(("django_", "celery_"))}
    with tracing(**off) as trace, otel.get_tracer("script").start_as_current_span("nightly"):
        for sku in range(6):
            requests.get(f"{url}/stock/{sku}", timeout=30)
    for each in trace.findings:
        each.attributes()
    assert told(trace.findings) == [(LOOP, 6)]
    assert trace.named("nightly").attributes["clew.findings"] == (LOOP,)
