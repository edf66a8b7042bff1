"""Backends a site may have, each in its own way."""

from django.contrib.auth.backends import BaseBackend, ModelBackend
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied


class Inheriting(ModelBackend):
    """Calls its parent."""

    def authenticate(self, request, username=None, password=None, **kwargs):
        return super().authenticate(request, username=username, password=password, **kwargs)


class Bare(ModelBackend):
    """Nothing of its own."""


class Tokens(BaseBackend):
    """Takes other credentials."""

    def authenticate(self, request, api_token):
        return User.objects.first()


class Directory:
    """No base class, a signature of its own, and a network that fails."""

    __slots__ = ()
    error = None

    def authenticate(self, request, username=None, password=None):
        if Directory.error is not None:
            raise Directory.error
        return

    async def aauthenticate(self, request, username=None, password=None):
        return self.authenticate(request, username, password)


class Denying(BaseBackend):
    def authenticate(self, request, username=None, password=None):
        raise PermissionDenied("no")


class Declining(BaseBackend):
    @staticmethod
    def authenticate(request, username=None, password=None):
        return None


class Instance:
    """Its authenticate() is the object's."""

    def __init__(self):
        self.authenticate = lambda request, username=None, password=None: None


class CallableMethod:
    """Its authenticate is a callable object: nothing is bound."""

    class Authenticate:
        def __call__(self, request, username=None, password=None):
            return None

    authenticate = Authenticate()


_singleton = Directory()


def singleton():
    return _singleton


class Recursive(BaseBackend):
    """Asks the others again."""

    def authenticate(self, request, username=None, password=None):
        from django.contrib.auth import authenticate

        return authenticate(request, name=username, secret=password)


class PerObject(BaseBackend):
    """Permissions of an object, asked of the database once."""

    def has_perm(self, user, perm, obj=None):
        if obj is None:
            return False
        if not hasattr(user, "_kept"):
            user._kept = User.objects.filter(pk=obj.pk).exists()
        return user._kept
