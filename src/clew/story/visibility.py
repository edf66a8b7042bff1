"""How long a broker waits for an acknowledgement before it gives a message to another worker: the one place that knows.

Redis, SQS and Azure Service Bus do so after a fixed time. RabbitMQ's `consumer_timeout` no client can ask for, and for
Pub/Sub kombu extends the deadline as long as the process lives, as it can for Azure (`use_lock_renewal`).
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Wait(NamedTuple):
    """One broker.

    Args:
        name: as people call it.
        option: of `broker_transport_options`.
        default_s: kombu's, in seconds.
    """

    name: str
    option: str
    default_s: float


# By `messaging.system`, and the schemes of kombu's URLs.
WAITS = {
    "redis": Wait("Redis", "visibility_timeout", 3600.0),
    "aws_sqs": Wait("SQS", "visibility_timeout", 1800.0),
    "servicebus": Wait("Azure Service Bus", "peek_lock_seconds", 60.0),
}
_SCHEMES = {
    "redis": "redis",
    "rediss": "redis",
    "sentinel": "redis",
    "sqs": "aws_sqs",
    "azureservicebus": "servicebus",
}


def system_of(app: Any) -> str:
    """`messaging.system` of the broker an app sends to, if it is one of these; "" otherwise."""
    url = app.conf.broker_write_url or app.conf.broker_url
    if type(url) in (list, tuple) and url:
        url = url[0]
    return _SCHEMES.get(url.partition(":")[0].partition("+")[0], "") if type(url) is str else ""


def timeout_s(app: Any, system: str) -> float:
    """The time in seconds; 0 where there is none or nobody knows it."""
    wait = WAITS.get(system)
    if wait is None:
        return 0.0
    options = app.conf.broker_transport_options
    if not issubclass(type(options), dict):
        return wait.default_s
    if options.get("use_lock_renewal"):
        return 0.0
    given: Any = options.get(wait.option)
    if type(given) in (int, float):
        return float(given)
    if type(given) is str and given.isdecimal():
        return float(given)
    return 0.0 if system == "aws_sqs" and options.get("predefined_queues") else wait.default_s
