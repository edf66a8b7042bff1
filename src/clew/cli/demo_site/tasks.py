"""What the worker does: an order's invoice, then its parcel; and a reminder now and then.

The names are given, since a task is known by its name in every trace and dashboard.
"""

from __future__ import annotations

import logging

from celery import shared_task
from django.template.loader import render_to_string

from clew.cli.demo_site.models import Order

logger = logging.getLogger(__name__)


@shared_task(name="shop.tasks.send_invoice")
def send_invoice(order_id: int) -> None:
    """Write the invoice of an order, and have it packed."""
    order = Order.objects.select_related("customer").get(pk=order_id)
    invoice = render_to_string("shop/invoice.txt", {"order": order})
    # Not by save(), which would write back fields that somebody may have changed meanwhile.
    Order.objects.filter(pk=order_id).update(invoice=invoice, state=Order.INVOICED)
    tell_warehouse.delay(order_id)


@shared_task(name="shop.tasks.tell_warehouse")
def tell_warehouse(order_id: int) -> None:
    """Have an order packed."""
    Order.objects.filter(pk=order_id).update(state=Order.PACKED)


@shared_task(name="shop.tasks.count_points")
def count_points(order_id: int) -> None:
    """Credit the customer of an order."""
    order = Order.objects.get(pk=order_id)
    try:
        points = order.metres // order.customer.name.count("z")
        logger.info("%d points for order %d", points, order_id)
    except ZeroDivisionError:
        # Wrong: the run has succeeded, for Celery and for whoever watches it, and the points are gone:
        # `silent_failure`, with this line. Raised, or given to self.retry(exc=...), it would be seen.
        logger.exception("no points for order %d", order_id)


@shared_task(name="shop.tasks.remind")
def remind() -> None:
    """Look for orders that nobody packed; beat sends this."""
    waiting = Order.objects.exclude(state=Order.PACKED).count()
    logger.info("%d orders wait to be packed", waiting)
