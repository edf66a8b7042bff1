"""The tables of a statement and the clauses that matter, read from its tokens in one pass.

Not a parser: a keyword says whether the next name is a table, and a frame remembers it for each pair of parentheses.
What is not understood has no facts, rather than wrong ones.
"""

from __future__ import annotations

from collections.abc import Callable

from clew.sql.tokens import unquoted


def words(text: str) -> frozenset[str]:
    """A set of words, written as a line of text."""
    return frozenset(text.split())


# They stand between a keyword and the name of the table.
MODIFIERS = words(
    "ABORT ALL CONCURRENTLY DELAYED EXISTS FAIL HIGH_PRIORITY IF IGNORE INTO LATERAL LOW_PRIORITY NOT ONLY OR OVERWRITE"
    " RECURSIVE REPLACE ROLLBACK TABLE TABLES"
)


class _Frame:
    """What is known between one pair of parentheses.

    Attributes:
        operation: of the statement that is read here; empty in a function's arguments.
        outer: the operation around it.
        is_expecting: whether the next name is a table.
        is_listing: whether a comma or a JOIN leads to another one.
        is_naming: whether the names are those of common table expressions.
        is_in_with: whether this is the body of one.
    """

    __slots__ = ("is_expecting", "is_in_with", "is_listing", "is_naming", "operation", "outer")

    def __init__(self, outer: str = "", *, is_expecting: bool = False, is_in_with: bool = False) -> None:
        self.operation = ""
        self.outer = outer
        self.is_expecting = self.is_listing = is_expecting
        self.is_naming = False
        self.is_in_with = is_in_with


class Reader:
    """Reads one statement.

    Attributes:
        tokens: as they are written.
        words: the tokens in upper case, with some empty ones behind, so that looking ahead needs no care.
        operation: what the statement does; empty when that cannot be told.
        object_name: what is called, or defined, where that is no table.
        targets: the tables, each with the operation it stands in.
        select_at: where the SELECT is whose rows are returned; -1 without.
        writes: whether anything in it inserts, updates or deletes.
        locks_rows: whether a SELECT locks what it reads.
        is_limited: whether the number of rows is.
        is_grouped: whether there may be more rows than one, though all are aggregated.
        has_from: whether the outermost SELECT reads anything.
        has_with: whether there are common table expressions.
    """

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self.words = [*[token.upper() for token in tokens], "", "", "", ""]
        self.operation = self.object_name = ""
        self.targets: list[tuple[str, str]] = []
        self.select_at = -1
        self.writes = self.locks_rows = self.is_limited = self.is_grouped = self.has_from = self.has_with = False
        self._at = 0
        self._frame = _Frame()
        self._stack: list[_Frame] = []
        self._expressions: set[str] = set()
        self._expression = ""

    def expect(self, operation: str, *, is_listing: bool = False) -> None:
        """The statement has this operation, and its next name is a table; the first of several if `is_listing`."""
        self.operation = self._frame.operation = operation
        self._frame.is_expecting = True
        self._frame.is_listing = is_listing

    def read(self, start: int) -> None:
        """Read the tokens from `start` on."""
        words = self.words
        for at in range(start, len(self.tokens)):
            handle = _HANDLERS.get(words[at])
            if handle is not None:
                self._at = at
                handle(self)
            elif self._frame.is_expecting:
                self._at = at
                self._name()

    def _name(self) -> None:
        """A name where a table, or a common table expression, is expected."""
        frame = self._frame
        if self.words[self._at] in MODIFIERS:
            return
        frame.is_expecting = False
        name = unquoted(self.tokens[self._at])
        if frame.is_naming:
            self._expression = name.lower()
            # Only a recursive one may read itself: WITH x AS (SELECT ... FROM x) reads a table.
            if self.words[self._at - 1] == "RECURSIVE":
                self._expressions.add(self._expression)
        elif frame.is_listing and self.words[self._at + 1] == "(":
            return  # a function
        elif name.lower() not in self._expressions:
            self.targets.append((frame.operation or frame.outer, name))

    def _start(self, operation: str) -> _Frame:
        frame = self._frame
        self._end_naming()
        frame.operation = operation
        frame.is_expecting = frame.is_listing = False
        if not self.operation and not frame.is_in_with:
            self.operation = operation
            self.select_at = self._at if operation == "SELECT" else -1
        return frame

    def _end_naming(self) -> None:
        if self._frame.is_naming:
            self._expressions.add(self._expression)
            self._frame.is_naming = False

    def _select(self) -> None:
        self._start("SELECT")

    def _write(self) -> None:
        word = self.words[self._at]
        # Not ON CONFLICT DO UPDATE, nor the branches of MERGE, nor the function REPLACE().
        if (self._frame.operation and not self._frame.is_naming) or self.words[self._at + 1] == "(":
            return
        frame = self._start(word)
        frame.is_expecting = word != "DELETE"
        frame.is_listing = word == "UPDATE"
        self.writes = True

    def _with(self) -> None:
        after = self.words[self._at + 1 : self._at + 3]
        # Not the type TIMESTAMP WITH TIME ZONE, nor SQL Server's WITH (NOLOCK), nor WITH ORDINALITY AS.
        if after[0] == "RECURSIVE" or (after[1] in ("AS", "(") and after[0] not in ("ORDINALITY", "(")):
            self.has_with = self._frame.is_naming = self._frame.is_expecting = True

    def _from(self) -> None:
        frame = self._frame
        # Not EXTRACT(YEAR FROM x), nor IS DISTINCT FROM.
        if frame.operation in ("SELECT", "DELETE", "UPDATE") and self.words[self._at - 1] != "DISTINCT":
            frame.is_expecting = frame.is_listing = True
            self.has_from = self.has_from or not self._stack

    def _join(self) -> None:
        self._frame.is_expecting = self._frame.is_listing

    def _using(self) -> None:
        if self._frame.operation in ("DELETE", "MERGE") and self.words[self._at + 1] != "(":
            self._frame.is_expecting = self._frame.is_listing = True

    def _on(self) -> None:
        if self.operation.endswith(" INDEX"):
            self.expect(self.operation)

    def _comma(self) -> None:
        frame = self._frame
        if frame.is_naming:
            self._expressions.add(self._expression)
            frame.is_expecting = True
        elif frame.is_listing:
            frame.is_expecting = True

    def _open(self) -> None:
        frame = self._frame
        self._stack.append(frame)
        if self.words[self._at - 1] == ")":
            self._end_naming()  # WITH x AS (...) (SELECT ...): the second is the statement itself
        is_in_with = frame.is_in_with or frame.is_naming
        self._frame = _Frame(
            frame.operation or frame.outer,
            is_expecting=frame.is_expecting and not frame.is_naming,
            is_in_with=is_in_with,
        )
        frame.is_expecting = False

    def _close(self) -> None:
        if self._stack:
            self._frame = self._stack.pop()

    def _end_clause(self) -> None:
        self._frame.is_expecting = self._frame.is_listing = False

    def _group(self) -> None:
        self._end_clause()
        self.is_grouped = self.is_grouped or not self._stack

    def _limit(self) -> None:
        self._end_clause()
        self.is_limited = self.is_limited or not self._stack

    def _fetch(self) -> None:
        if self.words[self._at + 1] in ("FIRST", "NEXT"):
            self._limit()

    def _for(self) -> None:
        self._end_clause()
        first, second = self.words[self._at + 1 : self._at + 3]
        if first in ("UPDATE", "SHARE") or (first, second) in (("NO", "KEY"), ("KEY", "SHARE")):
            self.locks_rows = True

    def _lock(self) -> None:
        if self.words[self._at + 1 : self._at + 3] == ["IN", "SHARE"]:
            self.locks_rows = True


_HANDLERS: dict[str, Callable[[Reader], None]] = {
    "(": Reader._open,
    ")": Reader._close,
    ",": Reader._comma,
    "SELECT": Reader._select,
    "WITH": Reader._with,
    "FROM": Reader._from,
    "JOIN": Reader._join,
    "STRAIGHT_JOIN": Reader._join,
    "USING": Reader._using,
    "ON": Reader._on,
    "LIMIT": Reader._limit,
    "ROWNUM": Reader._limit,
    "FETCH": Reader._fetch,
    "FOR": Reader._for,
    "LOCK": Reader._lock,
    **dict.fromkeys(("INSERT", "UPDATE", "DELETE", "REPLACE", "MERGE"), Reader._write),
    **dict.fromkeys(("GROUP", "UNION", "EXCEPT", "INTERSECT", "MINUS"), Reader._group),
    **dict.fromkeys(("WHERE", "SET", "ORDER", "HAVING", "VALUES", "RETURNING", "WINDOW"), Reader._end_clause),
}
