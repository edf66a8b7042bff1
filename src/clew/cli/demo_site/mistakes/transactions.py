"""Transactions that wait, that lie, and tasks that are sent too early, too late or twice."""

from __future__ import annotations

import logging
import secrets

from django.contrib.auth.hashers import make_password
from django.db import IntegrityError, transaction
from django.db.models import F
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST

from clew.cli.demo_site.mistakes import carrier
from clew.cli.demo_site.models import Customer, Order, Stock
from clew.cli.demo_site.tasks import count_points, send_invoice, tell_warehouse

logger = logging.getLogger(__name__)
_REELS, _ORDERS = 3, 40


@require_POST
def parcel(request: HttpRequest) -> HttpResponse:
    """Place an order, and have its parcel fetched."""
    customer = Customer.objects.all()[0]
    with transaction.atomic():
        order = Order.objects.create(customer=customer, thread="wool")
        # Wrong: the rows are locked for as long as another company takes to answer: `io_in_transaction`, on the
        # transaction, with the line that calls.
        carrier.book(request, order.pk)
    return _thank(request, order)


@require_POST
def thanks(request: HttpRequest) -> HttpResponse:
    """Place an order for more than there is."""
    order = Order(customer=Customer.objects.all()[0], thread="gold", metres=1_000_000)
    try:
        with transaction.atomic():
            order.save()
            Stock.objects.filter(thread=order.thread).update(metres=F("metres") - order.metres)
    except IntegrityError as error:
        # Wrong: the stock cannot be below nothing, so the order is gone as well; it is only logged, and the customer
        # is thanked. `rolled_back_but_succeeded`, on the transaction.
        logger.warning("the stock was not changed: %s", error)
    return _thank(request, order)


@require_POST
def early(request: HttpRequest) -> HttpResponse:
    """Place an order that the customer will fetch, with a code for each reel."""
    customer = Customer.objects.all()[0]
    with transaction.atomic():
        order = Order.objects.create(customer=customer, thread="red", metres=100 * _REELS)
        # Wrong: the worker does not wait for the COMMIT. `publish_in_transaction` names this line, and the run of the
        # task has failed with Order.DoesNotExist. transaction.on_commit() would send it in time.
        send_invoice.delay(order.pk)
        # Slow on purpose, as hashing passwords is: the transaction stays open meanwhile.
        codes = [make_password(secrets.token_hex(4)) for _ in range(_REELS)]
        order.pick_up_code = codes[0]
        order.save(update_fields=["pick_up_code"])
    return _thank(request, order)


@require_POST
def shipping(request: HttpRequest) -> HttpResponse:
    """Have the latest orders packed, once they are marked."""
    latest = list(Order.objects.all()[:4])
    with transaction.atomic():
        for order in latest:
            order.state = Order.INVOICED
            order.save(update_fields=["state"])
            # Wrong: every lambda looks at `order` when it is run, after the loop, and all see the last one:
            # `late_binding_on_commit`. functools.partial(tell_warehouse.delay, order.pk) keeps each.
            transaction.on_commit(lambda: tell_warehouse.delay(order.pk))  # noqa: B023 - linters know it, too
    return render(request, "shop/mistakes/said.html", {"said": f"{len(latest)} orders are being packed."})


@require_POST
def twice(request: HttpRequest) -> HttpResponse:
    """Have the latest order packed."""
    order = Order.objects.all()[0]
    _close(order)
    # Wrong: closing the order has sent this already: `duplicate_publish`, on the second of the two.
    tell_warehouse.delay(order.pk)
    return _thank(request, order)


@require_POST
def stocktaking(request: HttpRequest) -> HttpResponse:
    """Have many orders packed."""
    numbers = list(Order.objects.values_list("pk", flat=True)[:_ORDERS])
    for order_id in numbers:
        # Wrong: a message and a run for each: `publish_in_loop`, on the span that stands for most of them.
        # tell_warehouse.chunks([(order_id,), ...], 100).apply_async() sends one.
        tell_warehouse.delay(order_id)
    return render(request, "shop/mistakes/said.html", {"said": f"{len(numbers)} orders are being packed."})


@require_POST
def points(request: HttpRequest) -> HttpResponse:
    """Have the points of the latest order counted; the mistake is in the task."""
    order = Order.objects.all()[0]
    count_points.delay(order.pk)
    return _thank(request, order)


def _close(order: Order) -> None:
    Order.objects.filter(pk=order.pk).update(state=Order.INVOICED)
    tell_warehouse.delay(order.pk)


def _thank(request: HttpRequest, order: Order) -> HttpResponse:
    return render(request, "shop/mistakes/said.html", {"said": f"Thank you for {order}."})
