"""The pages; each has something of its own to show in a trace. Those with a mistake in them are in `mistakes`."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

from clew.cli.demo.mistakes import MISTAKES
from clew.cli.demo_site.forms import OrderForm
from clew.cli.demo_site.models import Order
from clew.cli.demo_site.tasks import send_invoice


class Page(NamedTuple):
    """An entry of the home page.

    Args:
        url_name: which page.
        title: what it is for the shop.
        shows: what its trace shows.
    """

    url_name: str
    title: str
    shows: str


PAGES = (
    Page("login", "Log in", "two authentication backends, asked in order"),
    Page("orders", "Orders", "a page made of templates that extend and include others"),
    Page("orders", "Place an order", "a form that sends a task, which sends another: one trace, three processes"),
    Page("archive", "The archive", "a route that is a regular expression, as one reads it"),
    Page("closed", "The closed shop", "a middleware answers; why the view never runs"),
    Page("rates", "Exchange rates", "an async view"),
    Page("broken", "A broken page", "an error, and the line it comes from"),
)

# Nobody gave the wool a price: that is what is broken.
_PRICES = {"red": 2, "gold": 90}


@require_GET
def home(request: HttpRequest) -> HttpResponse:
    """Every page, with what its trace shows."""
    return render(request, "shop/home.html", {"pages": PAGES, "mistakes": MISTAKES})


@require_GET
@login_required
def orders(request: HttpRequest) -> HttpResponse:
    """The latest orders, and the form for another."""
    return _orders_page(request, OrderForm())


@require_POST
@login_required
def new_order(request: HttpRequest) -> HttpResponse:
    """Place an order; its invoice is a task."""
    form = OrderForm(request.POST)
    if not form.is_valid():
        return _orders_page(request, form)
    placed = form.save()
    send_invoice.delay(placed.pk)
    return redirect(placed)


@require_GET
@login_required
def order(request: HttpRequest, number: int) -> HttpResponse:
    """One order, and how far the tasks have come with it."""
    found = get_object_or_404(Order.objects.select_related("customer"), pk=number)
    return render(request, "shop/order.html", {"order": found})


@require_GET
@login_required
def invoice(request: HttpRequest, number: str) -> HttpResponse:
    """The invoice of an order, as the task has written it."""
    return HttpResponse(get_object_or_404(Order, pk=number).invoice, content_type="text/plain")


@require_GET
@login_required
def archive(request: HttpRequest, year: str | None = None) -> HttpResponse:
    """How many orders there were in a year, or ever."""
    found = Order.objects.filter(created__year=year) if year else Order.objects.all()
    return JsonResponse({"orders": found.count()})


@require_GET
def never(request: HttpRequest) -> HttpResponse:
    """A view that no request reaches: the maintenance middleware answers first."""
    return HttpResponse("The shop is open.", content_type="text/plain")


# Without a decorator, which would make it a view that is not async before Django 5.
async def rates(request: HttpRequest) -> HttpResponse:
    """Ask two banks at once."""
    found = await asyncio.gather(_rate("gold", 0.02), _rate("wool", 0.03))
    return JsonResponse(dict(found))


@require_GET
def broken(request: HttpRequest) -> HttpResponse:
    """Fail as pages do: a few calls down, for one thing nobody thought of."""
    return render(request, "shop/home.html", {"total": sum(_price(thread) for thread, _ in Order.THREADS)})


@require_GET
def healthz(request: HttpRequest) -> HttpResponse:
    """Say that the site serves."""
    return HttpResponse("ok", content_type="text/plain")


def _orders_page(request: HttpRequest, form: OrderForm) -> HttpResponse:
    # Taken together with its customer, or each row would ask for its own.
    latest = Order.objects.select_related("customer")[:20]
    return render(request, "shop/orders.html", {"orders": latest, "form": form})


async def _rate(what: str, seconds: float) -> tuple[str, float]:
    await asyncio.sleep(seconds)
    return what, 1.0


def _price(thread: str) -> int:
    return _PRICES[thread]
