"""Placeholder of the seam."""

from clew.core.seam import Seam

SEAM = Seam("django.auth")
