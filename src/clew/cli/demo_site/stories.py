"""The pages of `clew demo --stories` that the shop does not have anyway."""

from __future__ import annotations

import time

from django.contrib.auth.decorators import permission_required
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_GET

from clew.cli.demo_site.models import Customer


@require_GET
@permission_required("shop.change_stock", raise_exception=True)
def shelves(request: HttpRequest) -> HttpResponse:
    """What only who fills the shelves may see."""
    return HttpResponse("All shelves are full.", content_type="text/plain")


@require_GET
def popular(request: HttpRequest) -> HttpResponse:
    """Whose orders are the longest: cached, since it takes long."""
    found = cache.get("popular")
    if found is None:
        found = Customer.objects.count()
        time.sleep(1)  # the statistics of a larger shop
        cache.set("popular", found, 60)
    return HttpResponse(str(found), content_type="text/plain")


async def exchange(request: HttpRequest) -> HttpResponse:
    """Ask a bank, and wait for it as sync code does."""
    time.sleep(1)
    return HttpResponse("1", content_type="text/plain")
