"""The shop as a Django application."""

from __future__ import annotations

from django.apps import AppConfig


class ShopConfig(AppConfig):
    """Its label is short, so that table names are too."""

    name = "clew.cli.demo_site"
    label = "shop"
    verbose_name = "The demo's shop"
    default_auto_field = "django.db.models.BigAutoField"
