"""A process that a test starts and talks to: whatever it or the test does, it ends, and the suite goes on."""

from __future__ import annotations

import subprocess
import threading
from typing import Any

DEADLINE_S = 240


class Process(subprocess.Popen[str]):
    """In a `with` block: killed at the deadline, so that what reads its output goes on, and when the block fails."""

    def __enter__(self) -> Process:
        self._deadline = threading.Timer(DEADLINE_S, self.kill)
        self._deadline.daemon = True
        self._deadline.start()
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if kind is not None:
            self.kill()
        try:
            super().__exit__(kind, error, traceback)
        finally:
            self._deadline.cancel()
