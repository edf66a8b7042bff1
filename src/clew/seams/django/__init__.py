"""Seams in Django: request, middleware, URLs, view, templates, auth."""
