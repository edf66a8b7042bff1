"""`clew doctor`: the project it looks at - Django's settings, the registered apps, the Celery app and its tasks.

All of it is imported as `manage.py` would, with the SDK off, so that nothing is patched and nothing is sent.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from clew.cli.doctor.check import OK, PROBLEM, WARNING, Check
from clew.cli.reason import reason
from clew.cli.settings_module import settings_module
from clew.settings import SettingsError

_SWITCH = "OTEL_SDK_DISABLED"


@dataclass
class Project:
    """What was found.

    Args:
        settings: Django's settings module, or None.
        app: the Celery app, or None.
        app_name: how the app was named, for a command line.
        is_settings_in_environment: whether DJANGO_SETTINGS_MODULE is set before anything of the project runs.
        arguments: what `setup_tracing()` was given, where the project's code calls it; else None.
        checks: the lines about all this.
    """

    settings: Any = None
    app: Any = None
    app_name: str = ""
    is_settings_in_environment: bool = True
    arguments: Mapping[str, Any] | None = None
    checks: list[Check] = field(default_factory=list)

    def say(self, level: str, text: str, fix: str = "") -> None:
        """Add a line."""
        self.checks.append(Check("project", level, text, fix))


def load(args: argparse.Namespace) -> Project:
    """Import the project.

    Args:
        args: `app` and `settings_module`, each None where not given.
    """
    project = Project()
    # A command's path starts at its own directory; `manage.py` starts at the project's.
    sys.path.insert(0, os.getcwd())
    with _untraced():
        if _load_settings(project, args):
            _load_app(project, args.app or os.environ.get("CELERY_APP"))
    # Looked up, not imported: where nothing has set up tracing there is nothing to read.
    bootstrap: Any = sys.modules.get("clew.bootstrap")
    tracing = bootstrap.active() if bootstrap else None
    project.arguments = tracing._arguments if tracing else None
    return project


def stand_down() -> bool:
    """Under `opentelemetry-instrument` this very process is traced; from here on it is not.

    Returns:
        Whether it was.
    """
    bootstrap: Any = sys.modules.get("clew.bootstrap")
    tracing = bootstrap.active() if bootstrap else None
    if tracing is not None:
        tracing.shutdown()
    return tracing is not None


@contextlib.contextmanager
def _untraced() -> Iterator[None]:
    """The SDK off while the project is imported; what the project prints does not get between our lines."""
    before = os.environ.get(_SWITCH)
    os.environ[_SWITCH] = "true"
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        if before is None:
            os.environ.pop(_SWITCH, None)
        else:
            os.environ[_SWITCH] = before


def _load_settings(project: Project, args: argparse.Namespace) -> bool:
    """Import the settings and set Django up; whether it makes sense to go on."""
    name, source = settings_module(args.settings_module)
    if not name:
        level = WARNING if args.app or os.environ.get("CELERY_APP") else PROBLEM
        fix = "run this in the site's directory, or give --settings-module mysite.settings"
        project.say(level, "DJANGO_SETTINGS_MODULE is not set, and there is no manage.py here", fix)
        return True
    project.is_settings_in_environment = os.environ.get("DJANGO_SETTINGS_MODULE") == name
    os.environ["DJANGO_SETTINGS_MODULE"] = name
    try:
        project.settings = importlib.import_module(name)
        project.say(OK, f"settings {name} ({source})")
        importlib.import_module("django").setup()
    except SettingsError as error:
        for line in str(error).splitlines():
            project.say(PROBLEM, line.removeprefix("clew: "), "correct it; setup_tracing() refuses to start with it")
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a project's settings may raise anything
        what = f"Django cannot be set up with {name}" if project.settings else f"the settings {name} cannot be imported"
        project.say(PROBLEM, f"{what}: {reason(error)}", "`python manage.py check` says more")
    else:
        return True
    project.say(WARNING, "the Celery app is not looked for, since it needs Django's settings")
    return False


def _load_app(project: Project, given: str | None) -> None:
    if importlib.util.find_spec("celery") is None:
        return
    # The package is what one types after `-A`; its celery.py is what can fail with a message of its own.
    package = _beside_settings()
    project.app_name = given or package
    if not project.app_name:
        fix = "give --app mysite.celery:app or set CELERY_APP"
        project.say(WARNING, "no Celery app was found beside the settings, so nothing is known of tasks", fix)
        return
    try:
        project.app = _find(given or f"{package}.celery")
        # A worker does the same when it starts: the modules of `include` and of autodiscover_tasks().
        project.app.loader.import_default_modules()
        project.app.finalize()
        project.app.conf.broker_url  # noqa: B018 - Celery reads and judges its settings when the first is asked for
    except (Exception, SystemExit) as error:  # noqa: BLE001 - so may its modules
        what = "its tasks cannot be imported" if project.app else "it cannot be imported"
        project.say(PROBLEM, f"Celery app {project.app_name}: {what}: {reason(error)}", "the worker fails likewise")
        return
    tasks = [name for name in project.app.tasks if not name.startswith("celery.")]
    if not tasks:
        fix = "call app.autodiscover_tasks(), or name the modules in `include`"
        project.say(WARNING, f"Celery app {project.app_name} has no tasks", fix)
        return
    project.say(OK, f"Celery app {project.app_name}, {len(tasks)} task{'s' * (len(tasks) != 1)}")


def _find(name: str) -> Any:
    from celery import Celery
    from celery.app.utils import find_app

    found = find_app(name)
    if not isinstance(found, Celery):
        raise TypeError(f"{name} is a {type(found).__name__}, not a Celery app")
    return found


def _beside_settings() -> str:
    """`mysite` for `mysite.settings` and `mysite.settings.local`, if there is a `mysite/celery.py`."""
    package = os.environ.get("DJANGO_SETTINGS_MODULE", "").rpartition(".")[0]
    while package:
        with contextlib.suppress(ImportError, ValueError):
            if importlib.util.find_spec(f"{package}.celery"):
                return package
        package = package.rpartition(".")[0]
    return ""
