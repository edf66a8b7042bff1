"""What a frame of the live stack is: the application's, a library's, a place that says where we are.

Worked out once for each code object and looked up by its id, because hashing a code object costs more than a query's
whole walk; the entry keeps the code object alive, so its id stays its own. A frame is the application's when it is not
under Django, the standard library or an installed distribution: a bare test for "site-packages" misjudges projects
that are installed themselves, and libraries that are not there.
"""

from __future__ import annotations

import dis
import functools
import os
import sys
import sysconfig
from types import CodeType, FrameType
from typing import Any, Final

LIBRARY: Final = 0
THIRD_PARTY: Final = 1
APPLICATION: Final = 2
TEMPLATE_NODE: Final = 3
SERIALIZER_FIELDS: Final = 4
DESCRIPTOR: Final = 5
PREFETCH: Final = 6
FORM_FIELDS: Final = 7
JINJA: Final = 8
# A frame of these says in which phase of a request or task the code below it runs.
TEMPLATE: Final = 9
SERIALIZER: Final = 10
SIGNAL: Final = 11
HOOK: Final = 12
# Where the walk ends.
VIEW: Final = 13
MIDDLEWARE: Final = 14
TASK: Final = 15
THREAD: Final = 16
OUTSIDE: Final = 17
FIRST_END: Final = VIEW

_MAX_KNOWN = 20_000
_CLEW = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_DEMO = os.path.join(_CLEW, "cli", "demo_site") + os.sep
_INTERACTIVE = ("<stdin>", "<console>", "<ipython-input")
# (end of the file's path, function or "" for all of it, kind)
_PLACES: tuple[tuple[str, str, int], ...] = (
    ("django/template/base.py", "render_annotated", TEMPLATE_NODE),
    ("django/template/base.py", "render", TEMPLATE),
    ("django/template/response.py", "render", TEMPLATE),
    ("django/template/backends/jinja2.py", "render", TEMPLATE),
    ("jinja2/environment.py", "render", TEMPLATE),
    ("rest_framework/serializers.py", "to_representation", SERIALIZER_FIELDS),
    ("rest_framework/serializers.py", "to_internal_value", SERIALIZER_FIELDS),
    ("rest_framework/serializers.py", "", SERIALIZER),
    ("django/core/serializers/base.py", "serialize", SERIALIZER),
    ("django/db/models/fields/related_descriptors.py", "__get__", DESCRIPTOR),
    ("django/db/models/query_utils.py", "__get__", DESCRIPTOR),
    ("django/contrib/contenttypes/fields.py", "__get__", DESCRIPTOR),
    ("django/db/models/query.py", "prefetch_one_level", PREFETCH),
    ("django/forms/forms.py", "_clean_fields", FORM_FIELDS),
    ("django/dispatch/dispatcher.py", "", SIGNAL),
    ("django/db/backends/base/base.py", "run_and_clear_commit_hooks", HOOK),
    ("django/db/backends/base/base.py", "on_commit", HOOK),
    ("clew/seams/django/view.py", "traced", VIEW),
    ("clew/seams/django/view.py", "aview", VIEW),
    ("django/core/handlers/base.py", "", MIDDLEWARE),
    ("django/core/handlers/exception.py", "", MIDDLEWARE),
    ("celery/app/trace.py", "", TASK),
    ("asgiref/sync.py", "thread_handler", THREAD),
    ("threading.py", "", OUTSIDE),
    ("concurrent/futures/thread.py", "", OUTSIDE),
    ("asyncio/events.py", "", OUTSIDE),
    ("unittest/case.py", "", OUTSIDE),
    ("_pytest/python.py", "", OUTSIDE),
    ("django/test/client.py", "", OUTSIDE),
    ("django/core/management/base.py", "", OUTSIDE),
)

# By id; and the code objects themselves, so that their ids stay theirs.
KINDS: dict[int, int] = {}
_held: dict[int, CodeType] = {}
_CALL, _PRECALL = dis.opmap.get("CALL", -1), dis.opmap.get("PRECALL", -2)


def kind_of(frame: FrameType) -> int:
    """Which of the kinds above a frame is."""
    code = frame.f_code
    found = KINDS.get(id(code))
    return found if found is not None else learn(frame)


def learn(frame: FrameType) -> int:
    """Work out a frame's kind, and keep it for its code object."""
    code = frame.f_code
    if len(_held) >= _MAX_KNOWN:
        KINDS.clear()
        _held.clear()
    kind = _kind(code.co_filename, code.co_name, frame.f_globals)
    _held[id(code)] = code
    KINDS[id(code)] = kind
    return kind


def is_application(path: str) -> bool:
    """Whether a file is the application's."""
    return _kind(path, "", {}) == APPLICATION


def first_cell(code_id: int, at: int) -> int:
    """The first cell of the instruction a frame of a known code is at.

    Python 3.11 and 3.12 specialize calls as a program runs, and stand at another cell of the same call from then on: it
    would look like two places.
    """
    code = _held.get(code_id)
    if code is None or at <= 0:
        return at
    text = code.co_code
    at = _before_caches(text, at)
    before = _before_caches(text, at - 2) if text[at] == _CALL else at
    return before if text[before] == _PRECALL else at


def _before_caches(text: bytes, at: int) -> int:
    while at > 0 and text[at] == 0:
        at -= 2
    return at


def forget() -> None:
    """Work everything out anew: the project's settings may be known only now."""
    KINDS.clear()
    _held.clear()
    _project.cache_clear()
    _libraries.cache_clear()


def _kind(path: str, function: str, module: dict[str, Any]) -> int:
    slashed = path.replace(os.sep, "/")
    for end, name, kind in _PLACES:
        if slashed.endswith(end) and name in ("", function):
            return kind
    if "__jinja_template__" in module:
        return JINJA
    if path.startswith("<"):
        return APPLICATION if path.startswith(_INTERACTIVE) else LIBRARY
    return _by_place(os.path.abspath(path))


def _by_place(path: str) -> int:
    if path.startswith(_CLEW):
        return APPLICATION if path.startswith(_DEMO) else LIBRARY
    if path.startswith(_framework_directories()):
        return LIBRARY
    standard, libraries = _libraries()
    for directory in libraries:
        if path.startswith(directory):
            own = _project()
            return APPLICATION if own and path.startswith(own) else THIRD_PARTY
    return LIBRARY if path.startswith(standard) else APPLICATION


@functools.lru_cache(maxsize=1)
def _framework_directories() -> tuple[str, ...]:
    found = []
    for name in ("django", "celery", "kombu", "opentelemetry", "wrapt", "asgiref"):
        found += [os.path.join(os.path.abspath(each), "") for each in getattr(sys.modules.get(name), "__path__", ())]
    return tuple(found)


@functools.lru_cache(maxsize=1)
def _libraries() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Directories of the standard library, and of installed distributions."""
    paths = sysconfig.get_paths()
    libraries = {paths["purelib"], paths["platlib"]}
    for entry in sys.path:
        if os.path.basename(entry) in ("site-packages", "dist-packages") or _holds_distributions(entry):
            libraries.add(entry)
    standard = {paths["stdlib"], paths["platstdlib"], os.path.dirname(os.path.abspath(os.__file__))}
    return _as_prefixes(standard), _as_prefixes(libraries)


def _holds_distributions(entry: str) -> bool:
    try:
        return any(name.endswith(".dist-info") for name in os.listdir(entry or "."))
    except OSError:
        return False


def _as_prefixes(directories: set[str]) -> tuple[str, ...]:
    return tuple(sorted({os.path.join(os.path.abspath(each), "") for each in directories}, key=len, reverse=True))


@functools.lru_cache(maxsize=1)
def _project() -> tuple[str, ...]:
    """Directories of the project itself, where it is installed like a library: what came with its settings."""
    module = os.environ.get("DJANGO_SETTINGS_MODULE", "")
    loaded = sys.modules.get(module)
    file = getattr(loaded, "__file__", None)
    if not file:
        return ()
    top = module.partition(".")[0]
    if top == "clew":
        return ()
    base = os.path.dirname(os.path.abspath(file))
    for _ in range(module.count(".") - (1 if os.path.basename(file) != "__init__.py" else 0)):
        base = os.path.dirname(base)
    tops = _installed_together(top) or {top}
    return tuple(os.path.join(os.path.dirname(base), each) for each in sorted(tops))


def _installed_together(top: str) -> set[str]:
    from importlib import metadata

    try:
        by_package = metadata.packages_distributions()
    except Exception:  # noqa: BLE001 - a broken distribution somewhere: then only the package of the settings counts
        return set()
    owners = set(by_package.get(top, ()))
    return {package for package, distributions in by_package.items() if owners & set(distributions)}
