"""Seams in Celery: publish, run, worker."""
