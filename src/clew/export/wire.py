"""The pieces an OTLP message is made of, as bytes: attributes, names, numbers.

A site says the same routes, templates and line numbers all day: the bytes of a key with its value, and of a
name, are kept, within bounds, and looked up the next time. Tags are given by the caller as bytes
(field number << 3 | wire type).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from opentelemetry.attributes import BoundedAttributes

from clew.engine import isolation

# Together they bound the bytes: about 3 MB for pairs, and for names, at the very worst.
MAX_KEPT = 8192
MAX_KEPT_BYTES = 256
# Protobuf readers give up at 100 messages inside each other; a mapping is three, and the event takes seven.
MAX_NESTING = 30

_pack_double = struct.Struct("<cd").pack
_pack_float = struct.Struct("<d").pack
# By type, too, since 1 == 1.0 == True. Only dict operations that are atomic, so threads share them without a lock.
_pairs: dict[tuple[tuple[str, Any], type], bytes] = {}
# What may be hashed: the hash of any other value may be the application's code. The first three are kept.
_KEPT = frozenset((str, int, bool))
_KNOWN = _KEPT | {float, type(None)}
_names: dict[str, bytes] = {}
# By key, what a pair is before the eight bytes of its number: durations differ each time.
_float_heads: dict[str, bytes] = {}


def make_varint(number: int) -> bytes:
    """Encode a number >= 0; `VARINTS` has those that are mostly wanted."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


VARINTS = tuple(map(make_varint, range(2048)))


def attributes(given: Any) -> list[bytes]:
    """Encode attributes as KeyValue messages, each with its length before it.

    Args:
        given: a mapping, or None. What OTLP cannot carry is left out, and that is logged once.

    Source: upstream's `_encode_attributes`; it logs the value too, which may be a secret or a query.
    """
    if given is None:
        return []
    kind = type(given)
    if kind is BoundedAttributes or kind is dict:
        # One atomic step in C, where iterating BoundedAttributes is a Python call for every key.
        given = given.copy()
    if not _KNOWN.issuperset(map(type, given.values())):
        return [made for item in given.items() if (made := pair(item))]
    # All look-ups in C: a span has some fifteen attributes, and nearly all of them have been said before.
    found: list[Any] = list(map(_pairs.get, zip(given.items(), map(type, given.values()), strict=True)))
    if None in found:
        _fill(found, list(given.items()))
    return found


def _fill(found: list[Any], items: list[tuple[str, Any]]) -> None:
    """Encode what has not been said before; a few of many."""
    for _ in range(found.count(None)):
        index = found.index(None)
        found[index] = _new_pair(items[index])
    if b"" in found:
        found[:] = filter(None, found)


def pair(item: tuple[str, Any]) -> bytes:
    """Encode one attribute as `attributes` does; b"" where OTLP cannot carry it."""
    kind = type(item[1])
    known = _pairs.get((item, kind)) if kind in _KEPT else None
    return _new_pair(item) if known is None else known


def name(given: str | None) -> bytes:
    """Encode the name of a span or an event, its length before it.

    Raises:
        TypeError: `given` is no string.
    """
    body = _names.get(given) if type(given) is str else None
    return _new_name(given) if body is None else body


def text(tag: bytes, value: str | None) -> bytes:
    """Encode a string field; an empty one is left out, which is how proto3 says it.

    Raises:
        TypeError: `value` is no string.
    """
    return field(tag, _utf8(value)) if value else b""


def count(tag: bytes, number: int) -> bytes:
    """Encode a number >= 0; 0 is left out."""
    return tag + _varint(number) if number else b""


def field(tag: bytes, data: bytes) -> bytes:
    """Put a tag and the length before the data."""
    size = len(data)
    return tag + (VARINTS[size] if size < 2048 else make_varint(size)) + data


def sized(data: bytes) -> bytes:
    """Put the length before the data."""
    size = len(data)
    return (VARINTS[size] if size < 2048 else make_varint(size)) + data


def joined(tag: bytes, head: bytes, messages: Iterable[bytes]) -> bytes:
    """Encode a repeated message field after `head`."""
    return tag.join([head, *map(sized, messages)])


def _new_name(given: Any) -> bytes:
    body = sized(_utf8("" if given is None else given))
    if type(given) is str:
        _keep(_names, given, body)
    return body


def _new_pair(item: tuple[str, Any]) -> bytes:
    key, value = item
    if type(value) is float and (head := _float_heads.get(key)) is not None:
        return head + _pack_float(value)
    try:
        body = _any_value(value, 0)
        size = len(body)
        length = VARINTS[size] if size < 2048 else make_varint(size)
        made = sized(b"\x0a" + name(key) + b"\x12" + length + body)
    except Exception as error:  # noqa: BLE001 - a value's own methods may raise anything
        what = f"{key!r} ({type(value).__name__})"
        isolation.warn(f"clew: attribute {what} is not exported, OTLP cannot carry it: {type(error).__name__}")
        return b""
    if type(key) is str:
        if type(value) in _KEPT:
            _keep(_pairs, (item, type(value)), made)
        elif type(value) is float:
            _keep(_float_heads, key, made[:-8])
    return made


def _keep(cache: dict[Any, bytes], key: Any, data: bytes) -> None:
    if len(data) <= MAX_KEPT_BYTES:
        if len(cache) >= MAX_KEPT:
            cache.clear()
        cache[key] = data


def _key_value(key: str, value: Any, depth: int = 0) -> bytes:
    return field(b"\x0a", _utf8(key)) + field(b"\x12", _any_value(value, depth))


def _any_value(value: Any, depth: int) -> bytes:
    kind = type(value)  # isinstance() would ask a lazy object for its class, and so run its query
    if kind is str:
        # What the next branch does, without its calls: most values that are not known yet come this way.
        data = str.encode(value, "utf-8", "backslashreplace")
        size = len(data)
        return b"\x0a" + (VARINTS[size] if size < 2048 else make_varint(size)) + data
    if issubclass(kind, str):
        return field(b"\x0a", _utf8(value))
    if kind is bool:
        return b"\x10\x01" if value else b"\x10\x00"
    if issubclass(kind, int):
        number = int.__index__(value)
        if -(1 << 63) <= number < 1 << 63:
            return b"\x18" + _varint(number & 0xFFFFFFFFFFFFFFFF)
        # Too long for OTLP's 64 bits: digits as text say more than nothing.
        return field(b"\x0a", _utf8(str(number)))
    if issubclass(kind, float):
        return _pack_double(b"\x21", value)
    if issubclass(kind, bytes):
        return field(b"\x3a", value)
    return b"" if value is None else _collection(value, kind, depth + 1)


def _collection(value: Any, kind: type, depth: int) -> bytes:
    if depth > MAX_NESTING:
        raise ValueError(f"more than {MAX_NESTING} levels deep")
    if issubclass(kind, Sequence):
        return field(b"\x2a", joined(b"\x0a", b"", (_any_value(item, depth) for item in value)))
    if issubclass(kind, Mapping):
        pairs = (_key_value(str(key), item, depth) for key, item in value.items())
        return field(b"\x32", joined(b"\x0a", b"", pairs))
    raise TypeError(f"{kind.__name__} is no OTLP value")


def _utf8(value: str) -> bytes:
    # Lone surrogates come from file names and broken clients; escaped, they still tell which byte it was.
    return str.encode(value, "utf-8", "backslashreplace")


def _varint(number: int) -> bytes:
    return VARINTS[number] if number < 2048 else make_varint(number)
