"""The provider of OpenTelemetry's own distribution: its processors step aside for clew's, and come back."""

from __future__ import annotations

import json

import pytest

from clew.cli.view.receiver import Receiver
from tests.test_bootstrap import wrapped

PROGRAM = """
    import json
    from opentelemetry import trace
    from clew.bootstrap import active

    def processors():
        multi = trace.get_tracer_provider()._active_span_processor
        return [type(each).__name__ for each in multi._span_processors]

    tracer = trace.get_tracer("user")
    tracer.start_span("while it stands").end()
    while_active = processors(), active().force_flush()
    active().shutdown()
    tracer.start_span("afterwards").end()
    trace.get_tracer_provider().force_flush()
    print(json.dumps([while_active, processors()]))
"""


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_distributions_processors_step_aside_until_the_shutdown(tmp_path, protocol):
    received = []
    with Receiver(received.extend, grpc_port=0, http_port=0) as receiver:
        port = receiver.grpc_port if protocol == "grpc" else receiver.http_port
        done = wrapped(
            tmp_path,
            PROGRAM,
            OTEL_TRACES_EXPORTER="otlp",
            OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}",
            OTEL_BSP_SCHEDULE_DELAY="60000",
        )
    assert done.returncode == 0, done.stderr
    (while_active, is_flushed), afterwards = json.loads(done.stdout)
    assert (is_flushed, "DeliverProcessor" in while_active, "BatchSpanProcessor" in while_active) == (True, True, False)
    assert afterwards == ["BatchSpanProcessor"]
    assert [record.name for record in received] == ["while it stands", "afterwards"]
