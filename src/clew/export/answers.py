"""Why an export did not arrive, read where the answer is: a session for the HTTP exporter, a stub for the gRPC one."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from clew.engine import forks

_CREDENTIAL_PROVIDERS = tuple(
    f"OTEL_PYTHON_EXPORTER_OTLP_HTTP_{signal}CREDENTIAL_PROVIDER" for signal in ("", "TRACES_", "METRICS_", "LOGS_")
)
_GRPC = {"UNAVAILABLE": "unreachable", "DEADLINE_EXCEEDED": "timeout", "CANCELLED": "timeout"}
_NO_CONNECTION = ("failed to connect", "connection refused", "dns resolution", "no route", "unreachable", "name resol")
_TOO_LARGE = ("larger than max", "too large", "message size", "exceeds")


class Answer:
    """The last answer of a collector, as a reason of `losses.REASONS`; "" if it took the batch or has not answered.

    Attributes:
        is_unknown: the collector has no such service: it does not take this signal at all.
    """

    def __init__(self) -> None:
        self.reason = ""
        self.is_unknown = False

    def reset(self) -> None:
        """Reset: a new export begins."""
        self.reason = ""

    def of_status(self, status: int) -> None:
        """An HTTP status."""
        self.is_unknown = status == 404
        if status < 300:
            self.reason = ""
        elif status < 400:
            self.reason = "redirected"
        else:
            self.reason = "too_large" if status == 413 else "rejected"

    def of_grpc(self, code: str, details: str) -> None:
        """A gRPC status."""
        details = details.lower()
        self.is_unknown = code == "UNIMPLEMENTED"
        self.reason = _GRPC.get(code, "rejected")
        if code == "UNAVAILABLE" and not any(words in details for words in _NO_CONNECTION):
            self.reason = "rejected"
        if code == "RESOURCE_EXHAUSTED" and any(words in details for words in _TOO_LARGE):
            self.reason = "too_large"


def watched_http(exporter: Any) -> tuple[Any, Answer | None]:
    """Make upstream's HTTP exporter with a session whose answers are seen.

    Args:
        exporter: its class.
    """
    if any(os.environ.get(name) for name in _CREDENTIAL_PROVIDERS):
        return exporter(), None  # the session is the site's
    answer = Answer()
    return exporter(session=_session(answer)), answer


def _session(answer: Answer) -> Any:
    import requests

    class WatchedSession(requests.Session):
        """Tells `answer` what was answered."""

        def get_redirect_target(self, resp: Any) -> None:
            """Nowhere: a redirected POST becomes a GET, whose answer says nothing of the spans (exporters < 1.45)."""

        def send(self, request: Any, **kwargs: Any) -> Any:
            try:
                response = super().send(request, **kwargs)
            except Exception as error:
                # Not only of requests: a site that forbids connections (pretix) raises what it likes below it.
                is_slow = isinstance(error, requests.exceptions.ReadTimeout) or "Read timed out" in str(error)
                answer.reason = "timeout" if is_slow else "unreachable"
                raise
            answer.of_status(response.status_code)
            return response

    return WatchedSession()


def watched_grpc(exporter: Any) -> tuple[Any, Answer | None]:
    """Make upstream's gRPC exporter with a stub whose answers are seen.

    Args:
        exporter: its class. Where a stub is made elsewhere than in `_initialize_channel_and_stub`, nothing is seen.
    """
    answer = Answer()

    class WatchedExporter(exporter):  # type: ignore[misc]
        """Upstream's, connected by its first export, and at once in a forked child, whose memory then grows no more.

        A server that forks before has no channel, and its children none of gRPC's threads.
        """

        def _initialize_channel_and_stub(self) -> None:
            self._channel: Any = None
            self._client: Any = _WatchedStub(self._connected, answer)

        def _connected(self) -> Any:
            watched = self._client
            super()._initialize_channel_and_stub()
            stub, self._client = self._client, watched
            return stub

    return WatchedExporter(), answer


class _WatchedStub:
    def __init__(self, connect: Callable[[], Any], answer: Answer) -> None:
        self._connected, self._answer = connect, answer
        self._stub: Any = None

    def connect(self) -> None:
        """Make the channel, if there is none; its threads leave signals to the application's."""
        if self._stub is None:
            with forks.without_signals():
                self._stub = self._connected()

    def Export(self, *args: Any, **kwargs: Any) -> Any:  # noqa: N802 - gRPC's name
        import grpc

        try:
            self.connect()
            result = self._stub.Export(*args, **kwargs)
        except grpc.RpcError as error:
            code: Any = getattr(error, "code", lambda: None)()
            details: Any = getattr(error, "details", lambda: "")()
            self._answer.of_grpc(getattr(code, "name", ""), str(details or ""))
            raise
        self._answer.reset()
        return result
