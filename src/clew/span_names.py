"""How spans are named: every form that could be long is decided here, once (docs/names.md).

A viewer cuts a name at some 40 characters, and few names make a list, a metric and a search usable. So the last parts
of a name stay, the whole name is an attribute, and what differs from run to run is in neither.
"""

from __future__ import annotations

FOLDED = " (folded)"
_FOLDERS = 2


class State:
    """`are_full` with the setting `span_names=full`: whole names, as they were, and drivers' own."""

    are_full = False


def configure(form: str) -> None:
    """Apply the setting `span_names`."""
    State.are_full = form == "full"


def of_code(dotted: str, module: str | None) -> str:
    """A function, class or method by the last part of its module: `orders.OrderDetail`; whole in code.function.name."""
    if State.are_full or not module or not dotted.startswith(f"{module}."):
        return dotted
    return dotted[module.rfind(".") + 1 :]


def of_template(name: str) -> str:
    """A template with its last two folders: `forms/widgets/input.html`; whole in django.template.name."""
    return "/".join(name.split("/")[-1 - _FOLDERS :])


def of_query(operation: str, tables: tuple[str, ...]) -> str:
    """The operation and its first table: `SELECT auth_user`; all are in db.query.summary. "" where none is known."""
    return f"{operation} {tables[0]}" if operation and tables else ""


def of_folded(name: str) -> str:
    """The exported name of a span that stands for several."""
    return name if State.are_full else name + FOLDED


def of_command(command: str, queue: str) -> str:
    """A driver's command below a publish, with the queue: `LLEN LLEN LLEN LLEN` is `LLEN mail`."""
    return " ".join([*dict.fromkeys(command.split()), queue]).rstrip()
