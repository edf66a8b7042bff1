"""A second authentication backend, as sites with a company directory have one."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import BaseBackend
from django.http import HttpRequest


class LdapLikeBackend(BaseBackend):
    """Stands before Django's own and knows nobody: a trace of the login shows both being asked."""

    def authenticate(self, request: HttpRequest | None, **credentials: Any) -> None:
        """Decline, so that Django asks the next backend."""
