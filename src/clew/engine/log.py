"""What clew says: lines of the logger `clew`, which are seen where a site's logging would let them vanish.

Python writes a warning to stderr only while no handler is there, and one that sends records to a collector is one.
A site's LOGGING switches off each logger that it does not name (`disable_existing_loggers`); that is not meant for us.
"""

from __future__ import annotations

import logging
from types import TracebackType

from clew.engine import redaction

_Error = tuple[type[BaseException], BaseException, TracebackType | None]

_logger = logging.getLogger("clew")


class _LastResort(logging.Handler):
    """Writes to stderr what nobody else shows."""

    def emit(self, record: logging.LogRecord) -> None:
        if logging.lastResort is not None and not self._is_shown(record):
            logging.lastResort.handle(record)

    def _is_shown(self, record: logging.LogRecord) -> bool:
        step: logging.Logger | None = _logger
        while step is not None:
            for each in step.handlers:
                if each is not self and record.levelno >= each.level and not _only_sends(each):
                    return True
            step = step.parent if step.propagate else None
        return False


def _only_sends(handler: logging.Handler) -> bool:
    return type(handler).__module__.startswith("opentelemetry.")


_logger.addHandler(_LastResort(logging.WARNING))


def log(level: int, message: str, *values: object, error: BaseException | None = None) -> None:
    """Log a line, without secrets in what it is given as text.

    Args:
        level: of `logging`.
        message: with a placeholder for each value.
        values: of the placeholders.
        error: whose traceback is to follow.
    """
    if level < _logger.getEffectiveLevel() or level <= logging.root.manager.disable:
        return
    told: _Error | None = (type(error), error, error.__traceback__) if error is not None else None
    # An endpoint may have a password in it.
    values = tuple(redaction.redactor.text(each) if isinstance(each, str) else each for each in values)
    if not _logger.disabled:
        _logger.log(level, message, *values, exc_info=told)
        return
    _logger.callHandlers(_logger.makeRecord(_logger.name, level, __file__, 0, message, values, told))
