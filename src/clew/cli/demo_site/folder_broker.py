"""kombu's broker of files, with messages that appear whole.

kombu makes a message's file first and writes it then; a worker that looks in between reads half a message, and ends.
"""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, filesystem
from kombu.utils.json import dumps


class Channel(filesystem.Channel):
    """Renames a message to its name when it is written."""

    def _put(self, queue: str, payload: dict[str, Any], **_: Any) -> None:  # type: ignore[override,unused-ignore]
        whole = Path(self.data_folder_out) / f"{time.monotonic_ns() // 1_000_000}_{uuid.uuid4()}.{queue}.msg"
        part = whole.with_suffix(".part")
        part.write_text(dumps(payload), encoding="utf-8")
        part.rename(whole)


class Transport(filesystem.Transport):
    """The transport with that channel."""

    Channel = Channel


def install() -> None:
    """Make it what `filesystem://` means in this process."""
    TRANSPORT_ALIASES["filesystem"] = f"{__name__}:Transport"
