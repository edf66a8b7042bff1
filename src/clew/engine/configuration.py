"""The settings in force, for whoever runs after set-up."""

from __future__ import annotations

from clew.settings import Settings

settings = Settings()
