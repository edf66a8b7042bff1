"""Every page with a mistake, asked for once in one run of the demo: each finding, on the right line."""

from __future__ import annotations

import re
from collections import namedtuple
from pathlib import Path

import pytest

import clew.cli
from clew.cli.demo.mistakes import MISTAKES
from clew.cli.view.receiver import Receiver
from tests.cli.test_demo import WORKS_IN_THIS_TIME, launch, make_scratch

pytestmark = pytest.mark.slow
SITE = Path(clew.cli.__file__).parent / "demo_site"
QUERIES, TRANSACTIONS = "mistakes/queries.py", "mistakes/transactions.py"
TASKS, CARRIER, TEMPLATE = "tasks.py", "mistakes/carrier.py", "templates/shop/mistakes/customers.html"
# The file, the function, and what is written on the line that the finding has to name.
LINES = {
    "n_plus_one": (TEMPLATE, "", "order.customer.name"),
    "repeated_query": (QUERIES, "_worth", "Stock.objects.get("),
    "write_in_loop": (QUERIES, "invoices", "order.save("),
    "unbounded_fetch": (QUERIES, "export", "Order.objects.all()"),
    "slow_query": (QUERIES, "ranking", "for order in best["),
    "stale_replica_read": (QUERIES, "replica", '.using("replica")'),
    "permission_queries": (QUERIES, "staff", "user.has_perm("),
    "io_in_transaction": (CARRIER, "book", "tracer.start_as_current_span("),
    "rolled_back_but_succeeded": (TRANSACTIONS, "thanks", "transaction.atomic()"),
    "publish_in_transaction": (TRANSACTIONS, "early", "send_invoice.delay("),
    "late_binding_on_commit": (TRANSACTIONS, "shipping", "transaction.on_commit(lambda"),
    "duplicate_publish": (TRANSACTIONS, "twice", "tell_warehouse.delay("),
    "publish_in_loop": (TRANSACTIONS, "stocktaking", "tell_warehouse.delay("),
    "silent_failure": (TASKS, "count_points", "logger.exception("),
}
BY_NAME = {mistake.finding: mistake for mistake in MISTAKES}

Done = namedtuple("Done", "code out err records")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    received = []
    folder = tmp_path_factory.mktemp("findings")
    with Receiver(received.extend, grpc_port=0, http_port=None) as collector:
        process = launch(
            make_scratch(folder), folder, "--once", "--findings", OTEL_EXPORTER_OTLP_ENDPOINT=collector.grpc_endpoint
        )
        with process:
            out, err = process.communicate(timeout=WORKS_IN_THIS_TIME)
    return Done(process.returncode, out, err, received)


def trace_of(done, mistake):
    root = next(r for r in done.records if r.kind == "SERVER" and r.attributes.get("url.path") == mistake.path)
    return root, [record for record in done.records if record.trace_id == root.trace_id]


def events_of(records, kind):
    events = [event[2] for record in records for event in record.events if event[0] == f"clew.finding.{kind}"]
    return [attributes for attributes in events if attributes["clew.finding.type"] == kind]


def line_with(file, function, text):
    lines = (SITE / file).read_text().splitlines()
    first = next((at for at, line in enumerate(lines) if line.startswith(f"def {function}(")), 0)
    return next(at for at, line in enumerate(lines[first:], first + 1) if text in line)


def test_everything_is_found(done):
    assert done.code == 0, done.err
    assert "not found" not in done.out


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.finding)
def test_the_trace_names_the_mistake_and_how_to_mend_it(done, mistake):
    root, records = trace_of(done, mistake)
    found = events_of(records, mistake.finding)
    assert found
    assert all(event["clew.finding.about"] and event["clew.finding.fix"] for event in found)
    if mistake.finding == "silent_failure":  # the task's, not the page's
        root = next(record for record in records if record.kind == "CONSUMER")
    assert mistake.finding in root.attributes["clew.findings"]
    assert root.attributes[f"clew.{mistake.finding}.count"] >= 1


@pytest.mark.parametrize("kind", LINES)
def test_it_is_on_the_line_that_is_wrong(done, kind):
    file = LINES[kind][0]
    _, records = trace_of(done, BY_NAME[kind])
    places = {(event["code.file.path"], event["code.line.number"]) for event in events_of(records, kind)}
    assert (str(SITE / file), line_with(*LINES[kind])) in places


def test_the_tree_shows_the_line_and_the_fix(done):
    place = LINES["publish_in_transaction"]
    shown = done.out[done.out.index("publish_in_transaction  ") :]
    assert re.search(rf"▲ publish_in_transaction: [^✗]*at:  .*{place[0]}:{line_with(*place)}\n.*fix: ", shown)


def test_the_worker_fails_on_the_order_that_is_not_there_yet(done):
    _, records = trace_of(done, BY_NAME["publish_in_transaction"])
    run = next(record for record in records if record.kind == "CONSUMER")
    assert (run.service, run.status) == ("demo-worker", "ERROR")
    assert "DoesNotExist" in str(run.attributes["error.type"])


def test_the_lambdas_all_send_the_last_order(done):
    _, records = trace_of(done, BY_NAME["late_binding_on_commit"])
    assert sum(record.kind == "PRODUCER" for record in records) == 4
    assert sum(record.kind == "CONSUMER" for record in records) == 4


def test_the_failed_run_says_why_its_order_was_not_there(done):
    _, records = trace_of(done, BY_NAME["publish_in_transaction"])
    runs = [record for record in records if record.kind == "CONSUMER"]
    assert "before its transaction" in events_of(runs, "publish_in_transaction")[0]["clew.finding.about"]


def test_a_page_without_a_mistake_has_no_finding(done):
    home = next(record for record in done.records if record.attributes.get("url.path") == "/")
    assert "clew.findings" not in home.attributes


def test_it_fits_the_window(done):
    assert max(map(len, done.out.splitlines())) <= 100
