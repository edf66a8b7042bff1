"""What the environment says about the demo's database and broker, as Django and Celery want it.

`CLEW_DEMO_DATABASE` and `CLEW_DEMO_BROKER` are URLs. Without them, everything is a file in `CLEW_DEMO_DIR`.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

FILES = "filesystem://"


def directory() -> Path:
    """Where the files are: the database, the broker's folders."""
    return Path(os.environ.get("CLEW_DEMO_DIR") or "clew-demo").absolute()


def broker() -> str:
    """The broker's URL."""
    return os.environ.get("CLEW_DEMO_BROKER") or FILES


def database() -> dict[str, Any]:
    """The entry of `DATABASES`.

    Raises:
        ValueError: the URL is not one of PostgreSQL, or has no database or no port that is one.
    """
    given = os.environ.get("CLEW_DEMO_DATABASE", "")
    if not given:
        return _file("shop")
    try:
        url = urlsplit(given)
        name, port = unquote(url.path.lstrip("/")), url.port
    except ValueError:
        url, name, port = urlsplit(""), "", None
    if url.scheme not in ("postgres", "postgresql") or not name:
        raise ValueError("CLEW_DEMO_DATABASE is not postgres://user:password@host:port/name")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name,
        "USER": unquote(url.username or ""),
        "PASSWORD": unquote(url.password or ""),
        "HOST": url.hostname or "",
        "PORT": str(port or ""),
    }


def replica() -> dict[str, Any]:
    """The entry of a second database, which pages read from: a file, whatever the first is.

    That it is a copy of the first, and not another one, is said as in any project: tests use the first in its place.
    """
    return {**_file("replica"), "TEST": {"MIRROR": "default"}}


def _file(name: str) -> dict[str, Any]:
    directory().mkdir(parents=True, exist_ok=True)
    # Web and worker write to one file: better to wait for each other than to fail.
    options = {"timeout": 20}
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": directory() / f"{name}.sqlite3", "OPTIONS": options}


def problem() -> str:
    """What keeps a process from starting with these values, in one line; "" where nothing does."""
    return _broker_problem() or _database_problem()


def _broker_problem() -> str:
    from kombu import Connection

    name, separator, _ = broker().partition("://")
    try:
        if not separator:
            raise ValueError
        Connection(broker()).get_transport_cls()
    except ImportError as error:
        return f"CLEW_DEMO_BROKER: {name} needs a Python package that is missing ({error})"
    except Exception:  # noqa: BLE001 - each transport has exceptions of its own
        return "CLEW_DEMO_BROKER is not redis://host:port/number, amqp://user:password@host:port// or the like"
    return ""


def _database_problem() -> str:
    try:
        found = database()
        broker_options()
        replica()
    except ValueError as error:
        return str(error)
    except OSError as error:
        return f"CLEW_DEMO_DIR: no files can be made in {directory()} ({error.strerror})"
    needed = ("psycopg", "psycopg2") if "postgresql" in found["ENGINE"] else ("sqlite3",)
    is_there = any(importlib.util.find_spec(each) is not None for each in needed)
    return "" if is_there else f"CLEW_DEMO_DATABASE needs the Python package {needed[0]}"


def broker_options() -> dict[str, Any]:
    """Celery's `broker_transport_options`; makes the folders of a broker of files."""
    if broker() != FILES:
        return {}
    # kombu looks once a second, which would be most of the trace.
    options: dict[str, Any] = {"polling_interval": 0.05}
    for key, name in (("data_folder_in", "queue"), ("data_folder_out", "queue"), ("control_folder", "control")):
        folder = directory() / "broker" / name
        folder.mkdir(parents=True, exist_ok=True)
        options[key] = str(folder)
    return options
