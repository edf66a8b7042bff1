"""No span of its own: spans of a uvicorn process that is told to stop are sent before it goes.

uvicorn ends by raising the signal it was stopped with once more, with the handler there was before it. gunicorn's
worker class for it puts the default there, which ends the process without a word. We stand at `Server.serve`, before
uvicorn looks which one there is.
"""

from __future__ import annotations

from clew.engine import exits
from clew.engine.seam import Patch, Seam
from clew.engine.wrapper import Around

SEAM = Seam("django.server", patches=(Patch("uvicorn.server", "Server.serve", Around(exits.handle_signal)),))
