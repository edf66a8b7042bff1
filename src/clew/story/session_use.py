"""Whether a request has loaded and saved its session."""

from __future__ import annotations

from clew.story.local_trace import LocalTrace, Slot


class SessionUse:
    """What a request has done with its session."""

    __slots__ = ("cycled", "flushed", "is_created", "is_saved")

    def __init__(self) -> None:
        self.cycled = self.flushed = 0
        self.is_saved = False
        # Somebody was logged in, or it has a new key: then it has to be saved.
        self.is_created = False


_USE: Slot[SessionUse] = Slot()


def session_use(local: LocalTrace) -> SessionUse | None:
    """What this request has done; None: nothing."""
    return _USE.get(local)


def renewals(local: LocalTrace) -> tuple[int, int]:
    """How often it was given a new key, and how often it was emptied."""
    use = _USE.get(local)
    return (0, 0) if use is None else (use.cycled, use.flushed)


def note_session_use(local: LocalTrace, operation: str) -> None:
    """Note an operation on the session."""
    use = _USE.get(local) or _USE.put(local, SessionUse())
    use.is_saved = use.is_saved or operation == "save"
    use.is_created = use.is_created or operation in ("create", "cycle_key", "flush")
    use.cycled += operation == "cycle_key"
    use.flushed += operation == "flush"
