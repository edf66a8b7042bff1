import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connections
from django.http import HttpResponse
from django.urls import path

POSTGRES = {"ENGINE": "django.db.backends.postgresql", "HOST": "127.0.0.1", "USER": "postgres", "NAME": "postgres"}

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    DATABASES={
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["GREEN_SQLITE"], "CONN_MAX_AGE": 60},
        "postgres": {**POSTGRES, "CONN_MAX_AGE": 60},
    },
)


def asking(request, alias):
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT 41 + 1")
        return HttpResponse(cursor.fetchone())


urlpatterns = [path("<slug:alias>/", asking)]
application = get_wsgi_application()
