"""A route as a person reads it: `orders/<code>/` of `^orders/(?P<code>[A-Z0-9]+)/$`, as Django's admindocs write it.

Routes are of the site, so there are few, and each is read once. What cannot be read stays as it is.
"""

from __future__ import annotations

import functools

from clew.engine import configuration

_REGEX = ("^", "$", "\\", "(")
_QUANTIFIERS = "?*+{"


def readable(route: str) -> str:
    """The reading form of what `ResolverMatch.route` says, which has regular expressions where `re_path()` was used.

    Args:
        route: parts of `path()`, `re_path()` and `include()`, joined.
    """
    return _read(route) if configuration.settings.readable_routes else route


@functools.lru_cache(maxsize=4096)
def _read(route: str) -> str:
    if not any(sign in route for sign in _REGEX):
        return route
    try:
        return _Reader(route).sequence()
    except (IndexError, RecursionError):
        return route


class _Reader:
    """Reads one route from left to right; unnamed groups are told apart by their number."""

    def __init__(self, route: str) -> None:
        self._route, self._at, self._unnamed = route, 0, 0

    def sequence(self) -> str:
        """What stands here, until the group it is in ends."""
        found: list[str] = []
        while self._at < len(self._route) and self._route[self._at] != ")":
            found.append(self._item())
        return "".join(found)

    def _item(self) -> str:
        sign = self._route[self._at]
        self._at += 1
        if sign in "^$":
            return ""
        if sign == "\\":
            return self._escaped()
        if sign == "(":
            return self._group()
        if sign == "[":
            return self._class()
        if sign == ".":
            return self._variable() if self._is_repeated() else sign
        if sign in _QUANTIFIERS:
            self._skip_quantifier(sign)
            return ""
        return sign

    def _escaped(self) -> str:
        sign = self._route[self._at]
        self._at += 1
        if sign in "AZzbB":
            return ""
        return self._variable() if sign in "dDwWsS" else sign

    def _class(self) -> str:
        start = self._at
        self._skip_class()
        inside = self._route[start : self._at - 1].lstrip("\\")
        return inside if len(inside) == 1 and not self._is_repeated() else self._variable()

    def _group(self) -> str:
        rest = self._route[self._at :]
        if rest.startswith("?P<"):
            name = rest[3:].partition(">")[0]
            self._skip_group()
            return f"<{name}>"
        if rest.startswith("?:"):
            self._at += 2
            inside = self.sequence()
            self._at += 1
            return inside
        self._skip_group()
        # What only looks around, sets flags or says again what a group has matched, is nothing to read.
        return "" if rest.startswith("?") else self._variable()

    def _variable(self) -> str:
        self._unnamed += 1
        return f"<var{self._unnamed}>"

    def _is_repeated(self) -> bool:
        return self._route[self._at : self._at + 1] in ("*", "+", "{")

    def _skip_quantifier(self, sign: str) -> None:
        if sign == "{":
            self._at = self._route.index("}", self._at) + 1 if "}" in self._route[self._at :] else self._at

    def _skip_class(self) -> None:
        """Behind the class that has begun."""
        if self._route[self._at] == "^":
            self._at += 1
        if self._route[self._at] == "]":
            self._at += 1
        while self._route[self._at] != "]":
            self._at += 2 if self._route[self._at] == "\\" else 1
        self._at += 1

    def _skip_group(self) -> None:
        """Behind the group that has begun."""
        depth = 1
        while depth:
            sign = self._route[self._at]
            self._at += 2 if sign == "\\" else 1
            if sign == "[":
                self._skip_class()
            depth += (sign == "(") - (sign == ")")
