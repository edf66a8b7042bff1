"""Cases for the detectors that are not about queries: what must be found, and what must not; run by test_others.py."""

from __future__ import annotations
