"""A chord's body says which header it belongs to. That is written into messages, never into a signature.

A canvas is the application's: it is compared, saved, sent again. So what is known of a header when it is frozen is kept
beside, by its group's id, until a message leaves that holds the body: of a task of the header, of a chain or chord that
ends in one, or of `chord_unlock`. The message is given a copy of the body, and of what leads to it, no more.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from clew.seams.celery.message.headers import CHORD, Chord

_MAX_FROZEN = 10_000
_MAX_SIGNATURES = 1000
_frozen: OrderedDict[Any, str] = OrderedDict()


def remember(group_id: Any, chord: Chord) -> None:
    """Keep what is known of a header that was frozen."""
    _frozen[group_id] = chord.text()
    if len(_frozen) > _MAX_FROZEN:
        _frozen.popitem(last=False)


def reset() -> None:
    """Forget all headers."""
    _frozen.clear()


def annotate_message(headers: Any, body: Any) -> None:
    """Let the bodies in a message that is being sent say which header they belong to.

    Args:
        headers, body: Celery's own, of this publish, in either protocol.
    """
    if not _frozen:
        return
    held = body if isinstance(body, dict) else body[2]
    about = body if isinstance(body, dict) else headers
    left = [_MAX_SIGNATURES]
    if (chord := held.get("chord")) is not None:
        held["chord"] = _annotated(chord, about.get("group"), left)
    for name in ("chain", "callbacks"):
        if held.get(name):
            held[name] = _each(held[name], left)


def annotated_body(body: Any, group_id: Any) -> Any:
    """A copy of a chord's body that says which header it belongs to; the body itself where the header is not known."""
    return _annotated(body, group_id, [_MAX_SIGNATURES])


def _annotated(body: Any, group_id: Any, left: list[int]) -> Any:
    body, header = _annotate_nested(body, left), _frozen.get(group_id)
    return body if header is None else _with_header(body, header, left)


def _annotate_nested(signature: Any, left: list[int]) -> Any:
    """A signature, or a copy of it where it belongs to the header of a chord further out."""
    left[0] -= 1
    if left[0] < 0 or not isinstance(signature, dict):
        return signature
    options, kwargs = signature.get("options") or {}, signature.get("kwargs") or {}
    if (chord := options.get("chord")) is not None:
        annotated = _annotated(chord, options.get("group_id"), left)
        if annotated is not chord:
            signature = _with(signature, "options", chord=annotated)
    kind = signature.get("subtask_type")
    if kind in ("chain", "group"):
        return _with_tasks(signature, "tasks", _each(kwargs.get("tasks"), left))
    return _with_tasks(signature, "body", _annotate_nested(kwargs.get("body"), left)) if kind == "chord" else signature


def _with_header(signature: Any, header: str, left: list[int]) -> Any:
    """A copy of a signature whose first tasks carry the header's description in their messages."""
    left[0] -= 1
    if left[0] < 0 or not isinstance(signature, dict):
        return signature
    kind, kwargs = signature.get("subtask_type"), signature.get("kwargs") or {}
    if kind not in ("chain", "group", "chord"):
        headers = (signature.get("options") or {}).get("headers") or {}
        return _with(signature, "options", headers={**headers, CHORD: header})
    name = "header" if kind == "chord" else "tasks"
    tasks: Any = kwargs.get(name)
    if isinstance(tasks, dict):
        return _with(signature, "kwargs", **{name: _with_header(tasks, header, left)})
    if type(tasks) not in (list, tuple):
        return signature  # a generator's, which must not be used up
    first, rest = (tasks[:1], tasks[1:]) if kind == "chain" else (tasks, ())
    return _with(signature, "kwargs", **{name: [*(_with_header(each, header, left) for each in first), *rest]})


def _each(signatures: Any, left: list[int]) -> Any:
    if type(signatures) not in (list, tuple):
        return signatures
    found = [_annotate_nested(each, left) for each in signatures]
    is_same = all(new is old for new, old in zip(found, signatures, strict=True))
    return signatures if is_same else found


def _with_tasks(signature: Any, name: str, tasks: Any) -> Any:
    is_same = tasks is (signature.get("kwargs") or {}).get(name)
    return signature if is_same else _with(signature, "kwargs", **{name: tasks})


def _with(signature: Any, key: str, **changed: Any) -> Any:
    """A copy of a signature, of its own class, with other options or arguments."""
    kind: Any = type(signature)
    copied = kind.__new__(kind)
    dict.update(copied, signature)
    if held := getattr(signature, "__dict__", None):  # its app
        vars(copied).update(held)
    dict.__setitem__(copied, key, {**(signature.get(key) or {}), **changed})
    return copied
