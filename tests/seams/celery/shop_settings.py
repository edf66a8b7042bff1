"""Settings of the worker in test_transactions.py: Django's, with the schema the test has made in PostgreSQL."""

import os

SECRET_KEY = "test-only"
USE_TZ = True
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"


def database(schema):
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "test",
        "HOST": "127.0.0.1",
        "PORT": "5432",
        "USER": "postgres",
        "PASSWORD": "",
        "OPTIONS": {"options": f"-c search_path={schema}"},
    }


DATABASES = {"default": database(os.environ.get("SHOP_SCHEMA", "public"))}
del os
