"""What a function or class says of itself, its annotations unevaluated.

From Python 3.14 on (PEP 649) they are code of the application, run by whoever asks for them: it may fail (a name that
only type checkers import) or do something.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Container
from typing import Any

if sys.version_info >= (3, 14):
    import annotationlib


def signature(function: Any) -> inspect.Signature:
    """Its signature.

    Raises:
        TypeError, ValueError: it has none.
    """
    if sys.version_info >= (3, 14):
        return inspect.signature(function, annotation_format=annotationlib.Format.STRING)
    return inspect.signature(function)


def annotated(kind: type) -> Container[str]:
    """The names a class annotates."""
    if sys.version_info >= (3, 14):
        return annotationlib.get_annotations(kind, format=annotationlib.Format.STRING)
    found: Container[str] = vars(kind).get("__annotations__", ())
    return found


__all__ = ["annotated", "signature"]
