"""No span of its own: spans of a uvicorn process that is told to stop are sent before it goes.

uvicorn ends by raising the signal it was stopped with once more, with the handler there was before it. gunicorn's
worker class for it puts the default there, which ends the process without a word. We stand at `Server.serve`, before
uvicorn looks which one there is. After how many requests it replaces the process is its to say (`story/recycling.py`).
"""

from __future__ import annotations

from typing import Any

from clew.engine import exits
from clew.engine.seam import Patch, Seam
from clew.engine.wrapper import Around
from clew.story import recycling


def _serve(server: Any, /) -> None:
    recycling.serving(server)
    exits.handle_signal()


SEAM = Seam("django.server", patches=(Patch("uvicorn.server", "Server.serve", Around(_serve)),))
