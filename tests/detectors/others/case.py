"""A case: a view's or a task's body, and what is to be found in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Body = Callable[[], Any]
CASES: list[Case] = []


@dataclass(frozen=True)
class Case:
    """One body.

    Args:
        type: the detector's.
        body: of a view, or of a task.
        says: a part of the finding's sentence; "": nothing is to be found.
        mended: the body as the finding's fix has it.
        is_task: it is a task's.
    """

    type: str
    body: Body
    says: str = ""
    mended: Body | None = None
    is_task: bool = False

    @property
    def name(self) -> str:
        return f"{self.type}-{self.body.__name__}"


def silent(kind: str, *, is_task: bool = False) -> Callable[[Body], Body]:
    """Nothing of this type is to be found here."""

    def add(body: Body) -> Body:
        CASES.append(Case(kind, body, is_task=is_task))
        return body

    return add


def found(kind: str, says: str, *, mended: Body | None = None, is_task: bool = False) -> Callable[[Body], Body]:
    """A finding is to say this."""

    def add(body: Body) -> Body:
        CASES.append(Case(kind, body, says, mended, is_task))
        return body

    return add
