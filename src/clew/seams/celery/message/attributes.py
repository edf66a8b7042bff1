"""From a Celery message, task and app to span attributes: contrib's names, kept for dashboards, and the conventions'.

A pure mapping: never a task's arguments, no call to a broker. What does not change is worked out once for each app
and task.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from clew import attributes as names
from clew.seams.celery.message.values import MAX_TEXT, count_of, mapping_of, text_of
from clew.source.code_location import code_attributes

Attributes = dict[str, Any]
_SYSTEMS = {
    "amqp": "rabbitmq",
    "pyamqp": "rabbitmq",
    "amqps": "rabbitmq",
    "librabbitmq": "rabbitmq",
    "rediss": "redis",
    "sentinel": "redis",
    "sqs": "aws_sqs",
    "azureservicebus": "servicebus",
    "gcpubsub": "gcp_pubsub",
    "confluentkafka": "kafka",
}
_MAPPING = ("celery.map", "celery.starmap", "celery.chunks")
_IN_PROCESS = ("memory", "filesystem")
# RabbitMQ's exchanges of delayed messages; the routing key begins with the countdown, bit by bit (kombu 5.5 and newer).
_DELAYED = re.compile(r"(.+_)?celery_delayed_(\d+|delivery)")
_COUNTDOWN = re.compile(r"^(?:(?:[01]\.){28})+")
_OF_MESSAGE = (
    ("id", names.MESSAGING_MESSAGE_ID),
    ("root_id", names.CELERY_ROOT_ID),
    ("parent_id", names.CELERY_PARENT_ID),
    ("group", names.CELERY_GROUP_ID),
    ("eta", names.CELERY_ETA),
    ("expires", names.CELERY_EXPIRES),
)
_OF_RUN = (
    *_OF_MESSAGE,
    ("hostname", names.CELERY_HOSTNAME),
    ("origin", names.CELERY_ORIGIN),
    ("correlation_id", names.MESSAGING_CONTRIB_CONVERSATION_ID),
    ("reply_to", names.CELERY_REPLY_TO),
    ("compression", names.CELERY_COMPRESSION),
)
_KEY = itemgetter(0)
_written: WeakKeyDictionary[Any, Attributes] = WeakKeyDictionary()
_read: WeakKeyDictionary[Any, Attributes] = WeakKeyDictionary()
_tasks: WeakKeyDictionary[Any, Attributes] = WeakKeyDictionary()


def publishing_broker(app: Any, connection: Any = None) -> Attributes:
    """Attributes of the broker an app publishes to, or of the connection its caller gave."""
    if connection is not None:
        return _broker(lambda: connection)
    return _cached_broker(_written, app, "connection_for_write")


def consuming_broker(app: Any) -> Attributes:
    """Attributes of the broker an app's worker consumes from."""
    return _cached_broker(_read, app, "connection_for_read")


def _cached_broker(cache: WeakKeyDictionary[Any, Attributes], app: Any, method: str) -> Attributes:
    found = cache.get(app)
    if found is None:
        found = _broker(getattr(app, method))
        if found:
            cache[app] = found
    return found


def _broker(connect: Callable[[], Any]) -> Attributes:
    try:
        connection = connect()
        transport = connection.transport_cls
    except Exception:  # noqa: BLE001 - a broker URL that cannot be used: the publish itself says so
        return {}
    kind, port = transport if isinstance(transport, str) else "", connection.port
    try:
        loaded = connection.get_transport_cls()
        kind, port = loaded.driver_type or kind, port or loaded.default_port
    except Exception:  # noqa: BLE001 - the transport's library is not installed: the publish itself says so
        pass
    kind = text_of(kind)
    found: Attributes = {names.MESSAGING_SYSTEM: _SYSTEMS.get(kind, kind) or "celery"}
    address = _address(connection.hostname)
    if address and kind not in _IN_PROCESS:
        found[names.SERVER_ADDRESS] = address
        if type(port) is int and port and "://" not in text_of(connection.hostname):
            found[names.SERVER_PORT] = port
    return found


def _address(hostname: Any) -> str:
    """A broker's host. Some transports have a whole URL for a hostname: its path and query may be a password."""
    hostname = text_of(hostname or "")
    if "://" not in hostname:
        return str(hostname.rpartition("@")[2])
    try:
        parts = urlsplit(hostname)
    except ValueError:  # no URL after all
        return ""
    # The password has a slash of its own: what looks like the host is a part of it.
    is_cut = "@" in parts.path + parts.query + parts.fragment
    return "" if is_cut else parts.hostname or ""


def message_attributes(headers: Mapping[str, Any], body: Any) -> Attributes:
    """Ids and times of a message that is being sent, of either protocol."""
    found: Attributes = {}
    _put(found, body if isinstance(body, dict) else headers, _OF_MESSAGE)
    return found


def route_attributes(system: Any, exchange: Any, routing_key: Any, declare: Any) -> Attributes:
    """Where a message goes."""
    found: Attributes = {}
    name = text_of(getattr(exchange, "name", exchange) or "")
    if name:
        found[names.CELERY_EXCHANGE] = name
    _put_destination(found, system, name, routing_key)
    if kind := _kind_of(exchange, name, routing_key, declare):
        found[names.MESSAGING_DESTINATION_KIND] = kind
    return found


def _kind_of(exchange: Any, name: str, routing_key: Any, declare: Any) -> str | None:
    """To a queue, or to whoever wants it; None where the type of the exchange is not known."""
    if not name:
        return "queue" if routing_key else None
    for known in (exchange, *(getattr(each, "exchange", None) or each for each in declare or ())):
        if getattr(known, "name", None) == name and (kind := getattr(known, "type", None)):
            return "queue" if kind == "direct" else "topic"
    return None


def task_attributes(task: Any) -> Attributes:
    """What is the same for every run of a task."""
    try:
        found = _tasks.get(task)
        if found is None:
            found = _tasks[task] = _attributes_of(task)
    except TypeError:  # a class with an `__eq__` of its own and no `__hash__`
        found = _attributes_of(task)
    return found


def _attributes_of(task: Any) -> Attributes:
    return {
        names.CELERY_ACTION: "run",
        names.CELERY_TASK_NAME: task.name,
        names.MESSAGING_OPERATION_NAME: "run",
        names.MESSAGING_OPERATION_TYPE: "process",
        **code_attributes(task.run),
    }


def run_attributes(task: Any, request: Any) -> Attributes:
    """What is known of a run when it starts."""
    held = vars(request)
    found = task_attributes(task).copy()
    _put(found, held, _OF_RUN)
    if held.get("is_eager"):
        found[names.CELERY_EAGER] = True
    else:
        broker = consuming_broker(task.app)
        found.update(broker)
        delivery = mapping_of(held.get("delivery_info"))
        if delivery:
            found[names.CELERY_DELIVERY_INFO] = str(delivery)[:MAX_TEXT]
            if delivery.get("redelivered"):
                found[names.CELERY_REDELIVERED] = True
            exchange, routing_key = delivery.get("exchange") or "", delivery.get("routing_key")
            _put_destination(found, broker.get(names.MESSAGING_SYSTEM), exchange, routing_key)
    if task.name in _MAPPING:
        found.update(_mapped(held.get("kwargs")))
    limits = held.get("timelimit")
    if isinstance(limits, (list, tuple)) and any(limits):
        found[names.CELERY_TIMELIMIT] = tuple(text_of(limit) for limit in limits[:2])
    return found


def _mapped(kwargs: Any) -> Attributes:
    """What `map`, `starmap` and `chunks` call in one run: the task's name and how often, never its arguments."""
    found: Attributes = {}
    if type(kwargs) is dict:
        signature, items = kwargs.get("task"), kwargs.get("it")
        if isinstance(signature, dict) and (name := text_of(signature.get("task"))):
            found[names.CELERY_MAPPED_TASK] = name
        if isinstance(items, (list, tuple)):
            found[names.CELERY_MAPPED_COUNT] = len(items)
    return found


def destination(delivery: Mapping[str, Any]) -> Attributes:
    """Where a message came from, as `messaging.destination.name`."""
    found: Attributes = {}
    _put_destination(found, None, delivery.get("exchange") or "", delivery.get("routing_key"))
    return found


def _put(found: Attributes, about: Mapping[str, Any], wanted: tuple[tuple[str, str], ...]) -> None:
    get = about.get
    for (_, name), value in zip(wanted, map(get, map(_KEY, wanted)), strict=True):
        if value is not None and (said := value if type(value) is str else text_of(value)):
            found[name] = said if len(said) <= MAX_TEXT else said[:MAX_TEXT]
    if root := found.get(names.CELERY_ROOT_ID):
        found[names.MESSAGING_CONVERSATION_ID] = root
    if (index := count_of(get("group_index"))) is not None:
        found[names.CELERY_GROUP_INDEX] = index
    if retries := count_of(get("retries")):
        found[names.CELERY_RETRIES] = retries


def _put_destination(found: Attributes, system: str | None, exchange: Any, routing_key: Any) -> None:
    if routing_key:
        routing_key = found[names.MESSAGING_DESTINATION] = text_of(routing_key)
        if system == "rabbitmq":
            found[names.MESSAGING_ROUTING_KEY] = routing_key
        if exchange and _DELAYED.fullmatch(text_of(exchange)):
            # A countdown of its own for each message would make a time series of each.
            exchange, routing_key = "", _COUNTDOWN.sub("", routing_key, 1)
    if exchange or routing_key:
        # As the conventions want it: the queue alone where the exchange is the broker's own.
        found[names.MESSAGING_DESTINATION_NAME] = f"{exchange}:{routing_key or ''}" if exchange else routing_key
