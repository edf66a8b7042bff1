from __future__ import annotations

import io
import os
import re

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanKind

from clew.cli.terminal import Terminal, cells
from clew.cli.view.details import detail_words, duration_text, title
from clew.cli.view.forest import build_forest
from clew.cli.view.tree import SpanRecord, format_trace, from_otlp, from_readable

MS = 1_000_000
START = 1_790_000_000_000_000_000
TRACE, OTHER = "ab12" * 8, "cd34" * 8


def span(number, parent=0, name="", begin=0.0, end=10.0, kind="INTERNAL", **fields):
    fields.setdefault("resource", {"process.pid": 4711})
    fields.setdefault("service", "web")
    return SpanRecord(
        trace_id=fields.pop("trace", TRACE),
        span_id=f"{number:016x}",
        parent_span_id=f"{parent:016x}" if parent else "",
        name=name or f"span {number}",
        kind=kind,
        start_ns=START + int(begin * MS),
        end_ns=START + int(end * MS),
        **fields,
    )


def draw(*records, **options):
    return "\n".join(format_trace(records, **options))


def finding(path="", line=0, **attributes):
    where = {"code.file.path": path, "code.line.number": line} if path else {}
    said = {f"clew.finding.{key}": value for key, value in attributes.items()}
    return f"clew.finding.{attributes['type']}", START, {**said, **where}


def exception(kind, message):
    return ("exception", START, {"exception.type": kind, "exception.message": message})


def line_of(drawn, text):
    return next(line for line in drawn.splitlines() if text in line)


def test_children_stand_under_their_parent_in_the_order_they_began():
    drawn = draw(span(3, 1, "template", 5), span(2, 1, "view", 1, 4), span(1, name="GET /"), span(4, 2, "SELECT", 2))
    names = [re.sub(r"( \[.*\])? +\d.*", "", line) for line in drawn.splitlines()[1:]]
    assert names == ["GET /", "├─ view", "│  └─ SELECT", "└─ template"]


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (812_000, "812 µs"),
        (14_200_000, "14.2 ms"),
        (1_320_000_000, "1.32 s"),
        (999_499, "999 µs"),
        (999_500, "1.00 ms"),
        (999_999_999, "1.00 s"),
        (245_000_000_000, "4 min 5 s"),
        (-1_200_000, "-1.20 ms"),
        (0, "0 µs"),
        (None, "unfinished"),
    ],
)
def test_durations_read_at_a_glance(nanoseconds, text):
    assert duration_text(nanoseconds) == text


def test_the_process_is_said_where_it_changes():
    worker = {"service": "worker", "resource": {"process.pid": 9}}
    drawn = draw(span(1), span(2, 1), span(3, 2, **worker), span(4, 3, **worker))
    assert "[web pid 4711]" in line_of(drawn, "span 1")
    assert "[worker pid 9]" in line_of(drawn, "span 3")
    assert drawn.count("pid") == 2
    assert "2 processes" in drawn


def test_an_exception_is_told_once_where_it_was_raised():
    event = exception("shop.NoStock", "none left")
    drawn = draw(span(1, status="ERROR", events=(event,)), span(2, 1, status="ERROR", events=(event,)))
    assert drawn.count("shop.NoStock: none left") == 1
    assert drawn.index("span 2") < drawn.index("shop.NoStock")
    assert drawn.count("ERROR") == 2
    assert "2 errors" in drawn


def test_an_exception_on_a_span_that_is_no_error_says_so():
    assert "KeyError: 'x' (recorded, but the span is no error)" in draw(span(1, events=(exception("KeyError", "'x'"),)))


def test_a_status_message_stands_in_for_a_missing_exception():
    assert "✗ upstream timed out" in draw(span(1, status="ERROR", status_message="upstream timed out"))


def test_a_transaction_does_not_repeat_what_its_query_says():
    failed = {"status": "ERROR", "status_message": "IntegrityError: no", "begin": 1, "end": 2}
    above = span(2, 1, "transaction default", attributes={"django.db.transaction.outcome": "rolled_back"}, **failed)
    drawn = draw(span(1), above, span(3, 2, "UPDATE", 1, 2, events=(exception("django.db.IntegrityError", "no"),)))
    assert "transaction default ERROR  rolled back" in drawn
    assert drawn.count("IntegrityError") == 1


def test_an_exception_that_was_raised_anew_under_its_name_is_shown_once():
    lower, upper = exception("sqlite3.IntegrityError", "no"), exception("django.db.IntegrityError", "no")
    drawn = draw(span(1, status="ERROR", events=(upper,)), span(2, 1, "UPDATE", 1, 2, status="ERROR", events=(lower,)))
    assert "sqlite3.IntegrityError: no" in drawn
    assert "django.db" not in drawn


def test_a_finding_says_what_and_how_to_mend_it():
    event = finding(type="n_plus_one", about="Post.author loaded 10 times", fix='select_related("author")')
    drawn = draw(span(1, events=(event,)))
    assert "▲ n_plus_one: Post.author loaded 10 times" in drawn
    assert '  fix: select_related("author")' in drawn
    assert "1 finding" in drawn


def test_a_finding_says_on_which_line_it_is():
    event = finding("/srv/shop/views.py", 41, type="n_plus_one", about="...", fix="...")
    lines = draw(span(1, events=(event,))).splitlines()[-3:]
    assert [line.strip() for line in lines] == ["▲ n_plus_one: ...", "at:  /srv/shop/views.py:41", "fix: ..."]


def test_of_a_long_path_the_end_is_kept():
    event = finding("/srv/" + "a/" * 100 + "views.py", 41, type="n_plus_one", about="...")
    line = line_of(draw(span(1, events=(event,)), width=60), "at:")
    assert line.endswith("/a/a/a/views.py:41")
    assert "at:  …" in line
    assert cells(line) == 60


def test_of_a_long_name_the_part_that_tells_it_apart_is_kept():
    names = [
        "view shop.site.pages.of.orders.queries.customers_and_more",
        "run/shop.tasks.send_the_invoice_to_everybody",
    ]
    drawn = draw(*(span(n, name=name) for n, name in enumerate(names, 1)), width=60)
    assert re.search(r"^view …[\w.]*\.customers_and_more ", drawn, re.MULTILINE)
    assert re.search(r"^run/shop\.tasks\.send_the\w+…", drawn, re.MULTILINE)


def test_words_that_have_room_follow_the_name_though_others_have_not():
    facts = {"clew.folded.duration_ms": 12345.0, "db.response.returned_rows": 7}
    drawn = draw(span(1, name="SELECT " + "x" * 28, attributes=facts), width=75)
    assert "4711]  7 rows" in drawn


def test_findings_stay_in_a_narrow_heading_and_queries_give_way():
    facts = {"clew.db.query_count": 31, "clew.db.duration_ms": 4.25}
    events = (finding(type="late", about="..."),)
    shown = [span(n, 1, status="ERROR", events=events, attributes=facts, service=f"s{n}") for n in range(2, 13)]
    heading = draw(span(1), *shown, width=70).splitlines()[:2]
    assert "11 errors · 11 findings" in heading[1]
    assert "queries" not in heading[1]


def test_information_is_told_from_a_warning():
    hint = finding(type="n_plus_one", about="...", severity="information")
    drawn = draw(span(1, events=(hint, finding(type="late", about="...", severity="warning"))), color=True)
    assert "\x1b[33m▲ n_plus_one (information):" in drawn
    assert "\x1b[1;33m▲ late:" in drawn


def test_a_request_says_what_it_asked_of_the_database_and_how_much_was_found():
    facts = {"clew.db.query_count": 31, "clew.db.duration_ms": 4.25, "http.response.status_code": 200}
    found = {"clew.findings": ("late", "n_plus_one"), "clew.late.count": 1, "clew.n_plus_one.count": 2}
    drawn = draw(span(1, name="GET /", attributes={**facts, **found}))
    assert "GET / 200 ▲3 [web pid 4711]  31 queries" in drawn
    assert "· 31 queries in 4.25 ms" in drawn.splitlines()[0]


def test_a_query_says_how_often_it_ran_and_on_which_database_but_not_its_text():
    facts = {
        "clew.folded.count": 50,
        "clew.folded.duration_ms": 4.25,
        "db.query.text": "SELECT everything",
        "django.db.alias": "replica",
    }
    drawn = draw(span(1), span(2, 1, "SELECT shop_order", attributes={**facts, "db.response.returned_rows": 50}))
    assert "SELECT shop_order \u00d750  4.25 ms in all · on replica · 50 rows" in drawn
    assert "everything" not in drawn


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("SELECT", "SELECT shop_order shop_item"),
        ("SELECT shop_order", "SELECT shop_order  on replica"),
        ("shopdb", "shopdb  "),
    ],
)
def test_a_driver_s_span_shows_its_tables(name, shown):
    facts = {"db.query.summary": "SELECT shop_order shop_item", "django.db.alias": "replica"}
    drawn = draw(span(1), span(2, 1, name, kind="CLIENT", attributes=facts), width=120)
    assert shown in drawn
    assert (name == "SELECT shop_order") is ("SELECT shop_order shop_item" not in drawn)


@pytest.mark.parametrize("status", [302, 404])
def test_a_request_without_a_route_shows_its_path_whatever_else_there_is_to_say(status):
    said = {"url.path": "/orders/old/", "http.response.status_code": status, "django.view.reached": False}
    said["django.response.short_circuited_by"] = "shop.middleware.somewhere.very.long.RedirectingMiddleware"
    drawn = draw(span(1, name="GET", kind="SERVER", attributes=said), width=76)
    assert f"GET /orders/old/ {status}" in drawn


def test_folded_spans_show_their_count_and_a_status_its_number():
    attributes = {"clew.folded.count": 10, "http.response.status_code": 404, "django.view.reached": False}
    line = line_of(draw(span(1, attributes=attributes)), "span 1")
    assert "\u00d710" in line
    assert "404" in line
    assert "view not reached" in line


def test_an_attribute_of_the_wrong_type_does_not_stop_the_drawing():
    drawn = draw(span(1, attributes={"celery.queue_ms": "soon", "clew.folded.count": "x", "http.status_code": []}))
    assert "celery.queue_ms=soon" in drawn


def test_a_link_to_the_parent_is_its_publish():
    publish = span(1, name="apply_async/send", kind="PRODUCER")
    run = span(2, 1, "run/send", kind="CONSUMER", links=((TRACE, publish.span_id, {}),))
    assert "↪ linked to its publish" in draw(publish, run)


def test_linked_traces_name_each_other_both_ways():
    publish = span(1, name="apply_async/send", kind="PRODUCER")
    run = span(2, name="run/send", kind="CONSUMER", trace=OTHER, begin=5, links=((TRACE, publish.span_id, {}),))
    drawn = draw(run, publish)
    assert "↪ goes on in run/send (trace cd34cd34…)" in drawn
    assert "↪ link to apply_async/send (trace ab12ab12…)" in drawn
    assert drawn.index(f"trace {TRACE}") < drawn.index(f"trace {OTHER}")


def test_a_link_to_a_span_that_never_came_says_so():
    assert "not received (trace cd34cd34…)" in draw(span(1, links=((OTHER, "f" * 16, {}),)))


def test_many_links_are_counted():
    links = tuple((OTHER, f"{n:016x}", {}) for n in range(1, 1001))
    assert "and 995 more links" in draw(span(1, links=links))


def test_an_orphan_is_a_root_that_says_why():
    assert "(parent not received)" in draw(span(2, parent=1))


def test_a_continuation_names_what_was_shown_before():
    drawn = draw(span(2, parent=1), known={TRACE: {f"{1:016x}": "apply_async/send"}})
    assert "continued" in drawn.splitlines()[0]
    assert "(under apply_async/send, shown before)" in drawn


def test_circles_and_self_parents_are_shown_once_each():
    drawn = draw(span(1, 2), span(2, 1), span(3, 3), span(4, 2), width=120)
    assert drawn.count("its parents form a circle") == 2
    assert [drawn.count(f"span {n} ") for n in (1, 2, 3, 4)] == [1, 1, 1, 1]


def test_a_span_sent_twice_is_shown_once_and_two_spans_of_one_id_are_both_shown():
    drawn = draw(span(1), span(1), span(2, 1, "first"), span(2, 1, "second"))
    assert "3 spans" in drawn
    assert "first" in drawn
    assert "second" in drawn


def test_a_missing_end_and_a_clock_that_went_back_are_said():
    drawn = draw(span(1), span(2, 1, begin=5, end=3), SpanRecord(TRACE, "f" * 16, "", "open", "INTERNAL", START, 0))
    assert "-2.00 ms" in line_of(drawn, "span 2")
    assert "unfinished" in line_of(drawn, "open")


def test_no_times_at_all():
    assert "unfinished" in "\n".join(format_trace([SpanRecord(TRACE, "f" * 16, "", "", "INTERNAL", 0, 0)]))


def test_nothing_to_draw():
    assert format_trace([]) == []


@pytest.mark.parametrize("nasty", ["\x1b[2J", "\r", "\n", "\x07", "\u202e", "\u2028", "\x9b31m", "\ud800", "\x7f"])
def test_control_characters_never_reach_the_terminal(nasty):
    text = f"a{nasty}b"
    drawn = format_trace(
        [
            span(
                1,
                name=text,
                service=text,
                status="ERROR",
                attributes={"django.auth.outcome": text, "code.file.path": text},
                events=(exception(text, text), finding(text, 1, type=text, about=text, fix=text)),
                links=((OTHER, text, {text: text}),),
            ),
            span(2, parent=99, name=text),
        ]
    )
    assert all(nasty not in line for line in drawn)
    assert "\n".join(drawn).encode()


def test_ten_thousand_children_are_summed_up_and_errors_among_them_shown():
    records = [span(1), *(span(n, 1, "SELECT item", n) for n in range(2, 10_000))]
    records.append(span(20_000, 1, "the failed one", 10_000, status="ERROR"))
    drawn = draw(*records)
    assert len(drawn.splitlines()) < 50
    assert "more here: SELECT item \u00d7" in drawn
    assert "the failed one" in drawn
    assert "10,000 spans" in drawn


def test_many_orphans_are_summed_up_too():
    drawn = format_trace([span(n, 1, "SELECT item", n) for n in range(2, 1002)])
    assert len(drawn) < 40
    assert "970 more here" in drawn[-1]


def test_a_chain_of_ten_thousand_is_cut_with_the_rest_said():
    drawn = format_trace([span(n, n - 1) for n in range(1, 10_001)])
    assert len(drawn) < 40
    assert "more here" in drawn[-1]
    assert all(cells(line) <= 100 for line in drawn)


def test_a_bushy_trace_stops_at_a_limit_and_says_how_much_is_left():
    wide = [span(n, n // 12) for n in range(1, 10_001)]
    drawn = format_trace(wide)
    assert len(drawn) < 1100
    assert re.search(r"… [\d,]+ more spans are not drawn; the trace has 10,000", drawn[-1])


@pytest.mark.parametrize("width", [10, 40, 60, 76, 100, 200])
def test_no_line_is_wider_than_the_terminal(width):
    long, wide = "x" * 300, "漢字" * 100
    events = (exception(long, wide), finding(wide, 1, type="n_plus_one", about=wide, fix=long))
    records = [
        span(n, n - 1, wide if n % 2 else long, status="ERROR", events=events, service=wide) for n in range(1, 40)
    ]
    records.append(span(50, 49, long, attributes={"clew.folded.count": 10**9}))
    assert max(cells(line) for line in format_trace(records, width=width)) <= max(width, 40)


def test_plain_ascii_for_terminals_that_know_no_other():
    event = finding(type="late", about="naïve", fix="→ there")
    drawn = draw(span(1, name="café", events=(event,)), span(2, 1, status="ERROR"), span(3, 1), ascii_only=True)
    assert drawn.isascii()
    assert "|- span 2" in drawn


def test_colours_only_when_asked_for():
    records = [span(1, status="ERROR"), span(2, 1)]
    assert "\x1b" not in draw(*records)
    colored = draw(*records, color=True)
    assert "\x1b[1;31m" in colored
    assert re.sub(r"\x1b\[[\d;]*m", "", colored).split() == draw(*records).split()


def test_a_pipe_gets_no_colours_and_an_old_encoding_no_box_drawing(monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    latin = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    assert Terminal.of(latin) == Terminal(False, Terminal.of(latin).width, True)
    assert not Terminal.of(io.TextIOWrapper(io.BytesIO(), encoding="utf-8")).ascii_only


def test_no_color_is_honoured(monkeypatch):
    leader, follower = os.openpty()
    with open(follower, "w", encoding="utf-8") as stream:
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.delenv("NO_COLOR", raising=False)
        assert Terminal.of(stream).color
        monkeypatch.setenv("NO_COLOR", "1")
        assert not Terminal.of(stream).color
    os.close(leader)


def test_a_forest_counts_what_is_under_each_root():
    roots = build_forest([span(1), span(2, 1), span(3, 2), span(4, 77)])
    assert [(root.record.name, root.size, root.orphan) for root in roots] == [
        ("span 1", 3, ""),
        ("span 4", 1, "missing"),
    ]


def test_an_sdk_span_and_its_otlp_form_make_the_same_record():
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

    exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "web", "process.pid": 4711}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("clew.seams.celery.publish")
    with tracer.start_as_current_span("outer") as outer:
        links = [Link(outer.get_span_context(), {"clew.link": "publish"})]
        with (
            pytest.raises(ValueError, match="broken"),
            tracer.start_as_current_span("run/x", kind=SpanKind.CONSUMER, links=links, attributes={"a": (1, 2)}),
        ):
            raise ValueError("broken")
    sdk = sorted((from_readable(span) for span in exporter.get_finished_spans()), key=lambda record: record.name)
    wire = sorted(from_otlp(encode_spans(exporter.get_finished_spans()).resource_spans), key=lambda r: r.name)
    assert wire == sdk
    assert sdk[1].kind == "CONSUMER"
    assert sdk[1].parent_span_id == sdk[0].span_id
    assert sdk[1].process == ("web", "4711")
    provider.shutdown()


def test_otlp_with_numbers_from_a_newer_version_and_without_ids():
    group = ResourceSpans()
    spans = group.scope_spans.add().spans
    spans.add(trace_id=b"\1" * 16, span_id=b"\2" * 8, kind=99, parent_span_id=bytes(8)).status.code = 77
    spans.add(trace_id=bytes(16), span_id=b"\2" * 8)
    spans.add(trace_id=b"\1" * 16)
    (record,) = from_otlp([group])
    assert (record.kind, record.status, record.parent_span_id) == ("INTERNAL", "UNSET", "")


@pytest.mark.parametrize(
    ("attributes", "shown", "words"),
    [
        ({"url.path": "/nowhere/"}, "GET /nowhere/", []),
        ({"url.path": "/users/7/", "http.route": "users/<int:pk>/"}, "GET", ["users/<int:pk>/"]),
        ({"django.view.reached": False, "django.view.denied_by": "a.b"}, "GET", ["view not reached"]),
        ({"cache.hit": False, "django.cache.key": "user_{}"}, "GET", ["miss", "user_{}"]),
    ],
)
def test_a_request_says_its_path_where_it_has_no_route(attributes, shown, words):
    record = SpanRecord("1" * 32, "2" * 16, "", "GET", "SERVER", 1, 2, attributes=attributes)
    assert title(record) == shown
    assert list(detail_words(record)) == words


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        (
            {"django.response.short_circuited_by": "a.long.name.of.maintenance.Middleware"},
            "answered by maintenance.Middleware",
        ),
        (
            {
                "django.view.denied_by": "django.contrib.auth.decorators.login_required",
                "django.view.denied_reason": "redirected to /login/",
            },
            "denied by decorators.login_required: redirected to /login/",
        ),
        (
            {
                "django.response.short_circuited_by": "csrf.CsrfViewMiddleware",
                "django.view.denied_by": "csrf.CsrfViewMiddleware",
                "django.view.denied_reason": "CSRF token missing.",
            },
            "answered by csrf.CsrfViewMiddleware: CSRF token missing.",
        ),
        ({"django.auth.reason": "the password is wrong"}, "the password is wrong"),
        ({"websocket.rejected_by": "shop.chat.Chat", "websocket.close.reason": "full"}, "rejected by chat.Chat: full"),
    ],
)
def test_why_it_went_another_way_is_a_line_of_its_own(attributes, said):
    record = SpanRecord("1" * 32, "2" * 16, "", "GET", "SERVER", 1, 2, attributes=attributes)
    lines = format_trace([record], color=False, width=100, ascii_only=False)
    assert lines[2].strip() == f"⇒ {said}"
