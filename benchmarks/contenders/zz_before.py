from . import contender
from . import clew as _clew
import contenders
_mod = contenders.registry["clew"]
contender("before", venv="before")(_mod[1])
