"""Commands of Redis one by one or again and again, over a real server with its instrumentation; sync and async."""

from __future__ import annotations

import asyncio

import pytest

from tests.detectors.test_calls import LOOP, SAME, told, visit

redis = pytest.importorskip("redis")
aioredis = pytest.importorskip("redis.asyncio")
Redis = pytest.importorskip("opentelemetry.instrumentation.redis").RedisInstrumentor

pytestmark = [pytest.mark.redis, pytest.mark.django_db(transaction=True)]
URL = "redis://127.0.0.1:6379/7"


@pytest.fixture
def client():
    Redis().instrument()
    client = redis.Redis.from_url(URL)
    for number in range(9):
        client.set(f"clew-calls:{number}", number)
    client.rpush("clew-calls:queue", *range(9))
    yield client
    client.delete("clew-calls:queue", *[f"clew-calls:{number}" for number in range(9)])
    client.close()
    Redis().uninstrument()


def loops(client):
    def gets():
        for number in range(6):
            client.get(f"clew-calls:{number}")

    def sets():
        for number in range(6):
            client.set(f"clew-calls:{number}", number)

    def comprehension():
        return [client.exists(f"clew-calls:{number}") for number in range(6)]

    def mapped():
        return list(map(client.get, [f"clew-calls:{number}" for number in range(6)]))

    return [gets, sets, comprehension, mapped]


@pytest.mark.parametrize("number", range(4))
def test_detects_each_kind_of_loop(client, number):
    assert told(visit(loops(client)[number])) == [(LOOP, 6)]


def test_the_fix_mends_it(client):
    def body():
        for number in range(6):
            seen.append(client.get(f"clew-calls:{number}"))

    seen = []
    (finding,) = visit(body)
    before, inside, after = finding.fix.split("`")[1::2]
    assert (before, inside, after) == (
        "pipe = client.pipeline()",
        "pipe.get(f'clew-calls:{number}')",
        "answers = pipe.execute()",
    )

    def mended():
        space = {"client": client}
        exec(f"{before}\nfor number in range(6):\n    {inside}\n{after}", space)
        assert space["answers"] == seen

    assert visit(mended) == []


def test_detects_an_asynchronous_loop(client):
    async def body():
        async with aioredis.Redis.from_url(URL) as other:
            for number in range(6):
                await other.get(f"clew-calls:{number}")

    (finding,) = visit(body)
    assert told([finding]) == [(LOOP, 6)]
    assert finding.fix.endswith("`answers = await pipe.execute()` after it")


def test_detects_the_same_key(client):
    def one():
        return client.get("clew-calls:1")

    def body():
        one()
        one()
        for name in "abc":
            assert [name, one()]

    assert told(visit(body)) == [(SAME, 5)]


def silent(client):
    def pipelines():
        for some in ([1, 2], [3, 4], [5, 6], [7, 8], [1, 3], [2, 4]):
            pipe = client.pipeline()
            for number in some:
                pipe.get(f"clew-calls:{number}")
            pipe.execute()

    def many_at_once():
        for number in range(8):
            client.mget(f"clew-calls:{number}", f"clew-calls:{number + 1}")

    def queue():
        while client.lpop("clew-calls:queue") is not None:
            pass

    def queue_that_counts():
        for _ in range(9):
            client.lpop("clew-calls:queue")

    def scan():
        for key in client.scan_iter("clew-calls:*", count=1):
            assert key

    def poll():
        for _ in range(9):
            if client.get("clew-calls:absent"):
                break

    def poll_by_while():
        left = 9
        while left and not client.exists("clew-calls:absent"):
            left -= 1

    def counter():
        for name in "abcdefgh":
            assert [name, client.incr("clew-calls:0")]

    def lock():
        with client.lock("clew-calls:8:lock", timeout=5):
            pass

    def lines():
        client.get("clew-calls:1")
        client.get("clew-calls:2")
        client.get("clew-calls:3")
        client.get("clew-calls:4")
        client.get("clew-calls:5")

    return [pipelines, many_at_once, queue, queue_that_counts, scan, poll, poll_by_while, counter, lock, lines]


@pytest.mark.parametrize("number", range(10))
def test_no_false_positive(client, number):
    assert told(visit(silent(client)[number])) == []


def test_no_false_positive_tasks_at_the_same_time(client):
    async def body():
        async with aioredis.Redis.from_url(URL) as other:
            await asyncio.gather(*[other.get(f"clew-calls:{number}") for number in range(9)])

    assert visit(body) == []
