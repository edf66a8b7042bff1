"""What a frame of the live stack is: the application's, a library's, a place that says where we are.

Worked out once for each code object and looked up by its id, because hashing a code object costs more than a query's
whole walk; the entry keeps the code object alive, so its id stays its own. A frame is the application's when it is not
under Django, the standard library or an installed distribution: a bare test for "site-packages" misjudges projects
that are installed themselves, and libraries that are not there. What says where we are is known by module and name, and
declared as a need; clew's own frames are known by their module, which a generated wrapper has, too.
"""

from __future__ import annotations

import dis
import functools
import os
import sys
import sysconfig
from types import CodeType, FrameType
from typing import Any, Final

from clew.engine import needs, silenced

OURS: Final = -1
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
DEMO_MODULE = "clew.cli.demo_site"
_DEMO = os.path.join(_CLEW, "cli", "demo_site") + os.sep
_INTERACTIVE = ("<stdin>", "<console>", "<ipython-input")
HANDLERS, _DATABASE = "django.core.handlers.base", "django.db.backends.base.base"
_TELLING_APART = (
    (TEMPLATE_NODE, needs.functions("django.template.base", "Node.render_annotated")),
    (SERIALIZER_FIELDS, needs.functions("rest_framework.serializers", "Serializer.to_representation")),
    (SERIALIZER_FIELDS, needs.functions("rest_framework.serializers", "Serializer.to_internal_value")),
    (DESCRIPTOR, needs.functions("django.db.models.query_utils", "DeferredAttribute.__get__")),
    (DESCRIPTOR, needs.functions("django.contrib.contenttypes.fields", "GenericForeignKey.__get__", until="6.1")),
    (
        DESCRIPTOR,
        needs.functions("django.contrib.contenttypes.fields", "GenericForeignKeyDescriptor.__get__", since="6.1"),
    ),
    (
        DESCRIPTOR,
        needs.functions(
            "django.db.models.fields.related_descriptors",
            "ForwardManyToOneDescriptor.__get__",
            "ReverseOneToOneDescriptor.__get__",
        ),
    ),
    (PREFETCH, needs.functions("django.db.models.query", "prefetch_one_level")),
    (FORM_FIELDS, needs.functions("django.forms.forms", "BaseForm._clean_fields")),
)
_PHASES = (
    (TEMPLATE, needs.functions("django.template.base", "Template.render")),
    (TEMPLATE, needs.functions("django.template.response", "SimpleTemplateResponse.render")),
    (TEMPLATE, needs.functions("django.template.backends.jinja2", "Template.render")),
    (TEMPLATE, needs.functions("jinja2.environment", "Template.render")),
    (SERIALIZER, needs.functions("django.core.serializers.base", "Serializer.serialize")),
    (HOOK, needs.functions(_DATABASE, "BaseDatabaseWrapper.run_and_clear_commit_hooks")),
    # Outside a transaction a hook is run at once, and in tests when they ask for it.
    (HOOK, needs.functions(_DATABASE, "BaseDatabaseWrapper.on_commit")),
    (HOOK, needs.functions("django.test.testcases", "TestCase.captureOnCommitCallbacks")),
    (VIEW, needs.functions(HANDLERS, "BaseHandler._get_response", "BaseHandler._get_response_async")),
    (THREAD, needs.functions("asgiref.sync", "SyncToAsync.thread_handler")),
)
# All of a module; the function is what makes sure that it is still the one.
_MODULES = (
    (SERIALIZER, needs.functions("rest_framework.serializers", "BaseSerializer")),
    (SIGNAL, needs.functions("django.dispatch.dispatcher", "Signal.send", "Signal.send_robust")),
    (MIDDLEWARE, needs.functions(HANDLERS, "BaseHandler.get_response", "BaseHandler.get_response_async")),
    (MIDDLEWARE, needs.functions("django.core.handlers.exception", "convert_exception_to_response")),
    (TASK, needs.functions("celery.app.trace", "build_tracer.<locals>.trace_task")),
    (OUTSIDE, needs.functions("django.test.client", "Client.request")),
    (OUTSIDE, needs.functions("django.core.management.base", "BaseCommand.execute")),
)
_STANDARD = ("threading", "concurrent.futures.thread", "asyncio.events", "unittest.case", "_pytest.python")
_BY_MODULE = {need.module: kind for kind, some in _MODULES for need in some} | dict.fromkeys(_STANDARD, OUTSIDE)
_BY_FUNCTION = {(need.module, need.name): kind for kind, some in (*_TELLING_APART, *_PHASES) for need in some}
needs.declare(
    __name__,
    *(need for _, some in _TELLING_APART for need in some),
    consequence="n_plus_one and write_in_loop are not looked for, since two lines of a template, two relations or two"
    " fields would look like a loop",
    switch_off=functools.partial(silenced.silence, "n_plus_one", "write_in_loop"),
)
needs.declare(
    __name__,
    *(need for _, some in (*_PHASES, *_MODULES) for need in some),
    consequence="queries do not all say in which phase of a request or task they are run",
)

# By id; and the code objects themselves, so that their ids stay theirs.
KINDS: dict[int, int] = {}
_held: dict[int, CodeType] = {}
# Another one as soon as what is known of frames no longer holds.
epoch = object()
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
        _forget()
    before = epoch
    kind = _kind(code.co_filename, code.co_name, frame.f_globals)
    _held[id(code)] = code
    KINDS[id(code)] = kind
    # Another thread has reset the caches meanwhile: this may be as of before, and the code is no longer kept alive.
    if epoch is not before:
        KINDS.pop(id(code), None)
    return kind


def _forget() -> None:
    global epoch
    epoch = object()
    _held.clear()
    KINDS.clear()


def is_application(path: str) -> bool:
    """Whether a file is the application's."""
    return _by_file(path) == APPLICATION


def code_of(code_id: int) -> CodeType | None:
    """The code object of that id, if it is known still."""
    return _held.get(code_id)


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


def reset() -> None:
    """Reset the caches: where the project lies may be known only now."""
    _project.cache_clear()
    _libraries.cache_clear()
    _forget()


def _kind(path: str, function: str, space: dict[str, Any]) -> int:
    module = space.get("__name__")
    if type(module) is str:
        if module.startswith("clew.") and not module.startswith(DEMO_MODULE):
            return OURS
        found = _BY_FUNCTION.get((module, function), _BY_MODULE.get(module))
        if found is not None:
            return found
    return JINJA if "__jinja_template__" in space else _by_file(path)


def _by_file(path: str) -> int:
    if path.startswith("<"):
        return APPLICATION if path.startswith(_INTERACTIVE) else LIBRARY
    return _by_place(os.path.abspath(path))


def _by_place(path: str) -> int:
    if path.startswith(_CLEW):
        return APPLICATION if path.startswith(_DEMO) else OURS
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
    """Places of the project itself, where it is installed like a library.

    What came with its settings, or, where these lie outside (a file the site's owner writes), with its URLs and server
    entry points. Which packages came together is asked only then: it takes hundreds of milliseconds of a request.
    """
    return (*_beside_settings(), *(each for name in _entry_points() for each in _packages_of(name)))


def _entry_points() -> list[str]:
    """Modules of the project that Django's settings name; settings that nobody has read yet are not read for it."""
    settings = getattr(sys.modules.get("django.conf"), "settings", None)
    if not getattr(settings, "configured", False):
        return []
    named = [getattr(settings, name, "") for name in ("ROOT_URLCONF", "WSGI_APPLICATION", "ASGI_APPLICATION")]
    return [name for name in named if type(name) is str and name.partition(".")[0] not in ("", "clew", "django")]


def _packages_of(module: str) -> list[str]:
    top = module.partition(".")[0]
    paths = map(os.path.abspath, getattr(sys.modules.get(top), "__path__", ()))
    return [place for path in paths for place in _installed_beside(path, top)]


def _beside_settings() -> tuple[str, ...]:
    module = os.environ.get("DJANGO_SETTINGS_MODULE", "")
    loaded = sys.modules.get(module)
    file = getattr(loaded, "__file__", None)
    top = module.partition(".")[0]
    if not file or top == "clew":
        return ()
    base = os.path.dirname(os.path.abspath(file))
    for _ in range(module.count(".") - (1 if os.path.basename(file) != "__init__.py" else 0)):
        base = os.path.dirname(base)
    return tuple(_installed_beside(base, top))


def _installed_beside(path: str, top: str) -> list[str]:
    """Packages and modules that were installed together with a package, by its path and name; none if it was not."""
    root = os.path.dirname(path)
    if not os.path.join(root, "").startswith(_libraries()[1]):
        return []
    tops = sorted(_installed_together(top) or {top})
    return [os.path.join(root, each) + end for each in tops for end in (os.sep, ".py")]


@functools.lru_cache(maxsize=4)
def _installed_together(top: str) -> set[str]:
    from importlib import metadata

    try:
        by_package = metadata.packages_distributions()
    except Exception:  # noqa: BLE001 - a broken distribution somewhere: then only the package of the settings counts
        return set()
    owners = set(by_package.get(top, ()))
    return {package for package, distributions in by_package.items() if owners & set(distributions)}
