"""What the environment says about the demo's database and broker, as Django and Celery want it.

`CLEW_DEMO_DATABASE` and `CLEW_DEMO_BROKER` are URLs. Without them, everything is a file in `CLEW_DEMO_DIR`.
"""

from __future__ import annotations

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
        ValueError: the URL is not one of PostgreSQL.
    """
    url = urlsplit(os.environ.get("CLEW_DEMO_DATABASE", ""))
    if not url.scheme:
        return _file("shop")
    if url.scheme not in ("postgres", "postgresql"):
        raise ValueError(f"CLEW_DEMO_DATABASE: {url.scheme}:// is not postgres://user:password@host:port/name")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(url.path.lstrip("/")),
        "USER": unquote(url.username or ""),
        "PASSWORD": unquote(url.password or ""),
        "HOST": url.hostname or "",
        "PORT": str(url.port or ""),
    }


def replica() -> dict[str, Any]:
    """The entry of a second database, which pages read from: a file, whatever the first is."""
    return _file("replica")


def _file(name: str) -> dict[str, Any]:
    # Web and worker write to one file: better to wait for each other than to fail.
    options = {"timeout": 20}
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": directory() / f"{name}.sqlite3", "OPTIONS": options}


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
