"""The demo site's Django settings: what `startproject` writes, and a little more."""

from __future__ import annotations

import os
import secrets

from clew.cli.demo import environment

# New at every start: nobody should find a key in a public repository and use it.
SECRET_KEY = secrets.token_urlsafe(48)
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]"]

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "clew.cli.demo_site.apps.ShopConfig",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    # The last: a trace shows what all the others did for an answer that no view gave.
    "clew.cli.demo_site.middleware.maintenance",
]
ROOT_URLCONF = "clew.cli.demo_site.urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DATABASES = {"default": environment.database(), "replica": environment.replica()}

AUTHENTICATION_BACKENDS = ["clew.cli.demo_site.auth.LdapLikeBackend", "django.contrib.auth.backends.ModelBackend"]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "orders"
LOGOUT_REDIRECT_URL = "home"

USE_TZ = True
TIME_ZONE = "UTC"

CELERY_BROKER_URL = environment.broker()
CELERY_BROKER_TRANSPORT_OPTIONS = environment.broker_options()
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# A queue of its own: the broker may be one that other workers listen to.
CELERY_TASK_DEFAULT_QUEUE = os.environ.get("CLEW_DEMO_QUEUE") or "clew-demo"
CELERY_TASK_IGNORE_RESULT = True
# `inspect ping` of docker-compose.yml needs it; the demo itself does not, and its trace is quieter without.
CELERY_WORKER_ENABLE_REMOTE_CONTROL = "CLEW_DEMO_LEASH" not in os.environ
CELERY_BEAT_SCHEDULE = {"remind": {"task": "shop.tasks.remind", "schedule": 30.0}}

# What this shop calls slow, and how many queries a page may run; all else is as clew has it.
CLEW = {"SLOW_QUERY_THRESHOLD_MS": 50, "QUERY_BUDGETS": {"mistakes/turnover/": 10}}
