"""Annotations are the application's: we read names, never values."""

from __future__ import annotations

import functools
import sys

import pytest

from clew.engine import annotations
from clew.engine.wrapper import Around


def defined(source, name, **space):
    exec(compile(source, "<site>", "exec", dont_inherit=True), space)
    return space[name]


@pytest.mark.skipif(sys.version_info < (3, 14), reason="earlier ones evaluate annotations with the definition")
def test_a_wrapper_evaluates_no_annotation_of_the_application():
    call = defined("def call(self, sql: OnlyForTypeCheckers, params=7): return sql", "call")

    @functools.wraps(call)
    def by_somebody(*args, **kwargs):
        return call(*args, **kwargs)

    seen = []
    wrapper = Around(lambda cursor, /, sql, params: seen.append((cursor, sql, params)))(by_somebody)
    assert (wrapper(0, "a"), seen) == ("a", [(0, "a", 7)])


@pytest.mark.parametrize("future", ["", "from __future__ import annotations\n"])
def test_what_a_class_annotates_is_found(future):
    kind = defined(future + "class Kind:\n    held: int\n", "Kind")
    assert ("held" in annotations.annotated(kind), "other" in annotations.annotated(kind)) == (True, False)
