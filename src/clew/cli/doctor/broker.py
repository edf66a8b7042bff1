"""`clew doctor`: the broker - whether it answers, and how many messages wait in each queue.

Nothing is declared and nothing is consumed: RabbitMQ is asked by a passive declaration, Redis by the length of lists.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from clew.cli.doctor.check import PROBLEM, Check
from clew.cli.reason import reason
from clew.engine import needs
from clew.seams.celery.consumers.registry import Registry

_REFUSALS = ("AuthenticationError", "AuthenticationFailed", "AccessRefused", "NoPermissionError")
_MAX_CAUSES = 10
AMQP, REDIS, MEMORY = "amqp", "redis", "memory"


@dataclass(frozen=True)
class QueueState:
    """What a broker says of a queue; None is what it cannot say.

    Args:
        messages: how many wait.
        consumers: how many read it.
        exists: whether it has been declared.
        registered: workers with clew that say they read it (Redis); others may, too.
    """

    messages: int | None = None
    consumers: int | None = None
    exists: bool = True
    registered: int | None = None


@dataclass(frozen=True)
class Broker:
    """What a broker says.

    Args:
        kind: kombu's name of its family: `amqp`, `redis`, `sqs`, ...
        uri: where it is, without the password.
        queues: by name.
        unacknowledged: messages that workers hold, where the broker can say.
    """

    kind: str
    uri: str
    queues: dict[str, QueueState] = field(default_factory=dict)
    unacknowledged: int | None = None


@contextlib.contextmanager
def connected(app: Any, timeout: float) -> Iterator[Any]:
    """A connection to where the app sends its tasks, closed in the end."""
    connection = app.connection_for_write(connect_timeout=timeout)
    if connection.transport.driver_type == REDIS:
        # Reading replies would otherwise put back messages that some worker has held for too long.
        quiet = {"unacked_restore_limit": 0, "socket_connect_timeout": timeout, "socket_timeout": timeout}
        connection.transport_options = {**(connection.transport_options or {}), **quiet}
    try:
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=timeout)
        yield connection
    finally:
        connection.release()


needs.declare(
    __name__,
    *needs.attributes("kombu.transport.redis", "Channel", "_size", "unacked_key", "conn_or_acquire"),
    consequence="`clew doctor` does not count the messages of Redis",
)


def look(app: Any, names: Iterable[str], timeout: float) -> Broker:
    """Ask the broker about these queues."""
    with connected(app, timeout) as connection:
        kind = connection.transport.driver_type
        states = {name: _state(connection, kind, name) for name in names}
        held = _unacknowledged(connection) if kind == REDIS else None
        return Broker(kind, uri_of(connection), states, held)


def uri_of(connection: Any) -> str:
    """Where a connection leads, without user and password."""
    scheme, separator, rest = str(connection.as_uri()).partition("://")
    return scheme + separator + rest.rpartition("@")[2]


def _state(connection: Any, kind: str, name: str) -> QueueState:
    if kind == REDIS:
        # kombu's own sum over the lists of each priority, under the prefix of the transport's options.
        channel = connection.default_channel
        return QueueState(messages=channel._size(name), registered=Registry(channel).readers(name))
    if kind != AMQP:
        return QueueState()
    # A queue that does not exist costs the channel.
    channel = connection.channel()
    try:
        found = channel.queue_declare(queue=name, passive=True)
    except connection.channel_errors as error:
        if getattr(error, "code", None) != 404:
            return QueueState()
        return QueueState(messages=0, consumers=0, exists=False)
    channel.close()
    return QueueState(messages=found.message_count, consumers=found.consumer_count)


def _unacknowledged(connection: Any) -> int | None:
    channel = connection.default_channel
    with channel.conn_or_acquire() as client:
        return int(client.hlen(channel.unacked_key))


def unreachable(app: Any, error: BaseException) -> Check:
    """The line for a broker that cannot be used."""
    conf = app.conf
    urls = [conf.broker_write_url, conf.broker_url]
    # A transport's message may quote the password, also in a form that no pattern knows.
    secrets: list[str | None] = []
    shown = "the broker"
    with contextlib.suppress(Exception):
        connection = app.connection_for_write()
        secrets.append(connection.password)
        shown = f"the broker {uri_of(connection)}"
    if isinstance(error, ValueError):
        # Its message quotes a part of the URL, which may be one of the password.
        fix = "percent-encode the special characters of its password (urllib.parse.quote)"
        return Check("broker", PROBLEM, f"{shown} cannot be used: its URL cannot be read", fix)
    if isinstance(error, ImportError):
        package = getattr(error, "name", None) or str(urls[-1]).partition(":")[0]
        return Check("broker", PROBLEM, f"{shown} needs a missing Python package", f"pip install {package}")
    if _is_refused(error):
        text = f"{shown} answers, but authentication failed: {reason(error, secrets)}"
        return Check("broker", PROBLEM, text, "correct user and password in the setting broker_url")
    fix = "start it, or correct the setting broker_url"
    if not any(url for url in urls):
        fix = "broker_url is not set, so Celery takes its default: set it (CELERY_BROKER_URL, with that namespace)"
    return Check("broker", PROBLEM, f"{shown} cannot be used: {reason(error, secrets)}", fix)


def _is_refused(error: BaseException | None) -> bool:
    """Whether the broker does not know the user or the password, by redis, amqp or another client of it."""
    for _ in range(_MAX_CAUSES):
        if error is None:
            return False
        if type(error).__name__ in _REFUSALS:
            return True
        error = error.__cause__ or error.__context__
    return False
