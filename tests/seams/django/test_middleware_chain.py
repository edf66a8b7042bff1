"""`setup_tracing()` after the handler was built: the same tree, and every object back at the end."""

from __future__ import annotations

import asyncio

import pytest
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.test import RequestFactory, override_settings
from django.test.client import AsyncRequestFactory

from clew.seams.django.middleware import chain as middleware_chain
from clew.testing import tracing

CHAIN = ["WorkingMiddleware", "function_middleware", "AsyncOnlyMiddleware", "AnsweringViewHookMiddleware"]


def ask(handler):
    if isinstance(handler, ASGIHandler):
        return asyncio.run(handler.get_response_async(AsyncRequestFactory().get("/plain/")))
    return handler.get_response(RequestFactory().get("/plain/"))


@pytest.mark.parametrize("kind", [WSGIHandler, ASGIHandler])
def test_a_built_chain_is_traced_and_given_back(kind):
    with override_settings(MIDDLEWARE=[f"tests.site.middleware.{name}" for name in CHAIN]):
        old = kind()
        cells = middleware_chain.layer_cells(old._middleware_chain)
        contents = [cell.cell_contents for cell in cells]
        hooks = [old._view_middleware, old._exception_middleware, old._template_response_middleware]
        with tracing(detail="all", resolve_threshold_ms=10_000) as captured:
            assert ask(old).content == b"not yet"
            tree_of_old = captured.tree()
            captured.clear()
            ask(kind())
            tree_of_new = captured.tree()
    assert len(cells) == len(CHAIN) + 1
    assert tree_of_old == tree_of_new
    assert tree_of_old.count("middleware function_middleware") == 2
    assert all(cell.cell_contents is content for cell, content in zip(cells, contents, strict=True))
    after = [old._view_middleware, old._exception_middleware, old._template_response_middleware]
    assert all(now is before for now, before in zip(after, hooks, strict=True))
