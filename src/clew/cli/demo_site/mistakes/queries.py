"""Queries that are too many, too slow, too large, or asked of the wrong database."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db.models import Count, IntegerField, OuterRef, Subquery, Sum
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET, require_POST

from clew.cli.demo_site.models import Customer, Order, Stock


@require_GET
def customers(request: HttpRequest) -> HttpResponse:
    """The latest orders, and who placed them."""
    # Wrong: the template asks each order for its customer, and nobody took them along. `n_plus_one` names the
    # template's line; the mend belongs here: select_related("customer").
    latest = Order.objects.all()[:30]
    return render(request, "shop/mistakes/customers.html", {"orders": latest})


@require_GET
def prices(request: HttpRequest) -> HttpResponse:
    """What the latest gold orders were worth."""
    total = sum(_worth(order) for order in Order.objects.filter(thread="gold")[:20])
    return _say(request, f"The last 20 orders of gold thread were worth {total}.")


def _worth(order: Order) -> int:
    # Wrong: gold costs the same for each of them, and is looked up for each: `repeated_query`, on this line.
    return order.metres * Stock.objects.get(thread=order.thread).price


@require_POST
def invoices(request: HttpRequest) -> HttpResponse:
    """Forget what was written on the latest invoices."""
    latest = list(Order.objects.all()[:15])
    for order in latest:
        order.invoice = ""
        # Wrong: an UPDATE, and a wait for the disk, for each of them: `write_in_loop`. bulk_update() takes one.
        order.save(update_fields=["invoice"])
    return _say(request, f"{len(latest)} invoices will be written anew.")


@require_GET
def turnover(request: HttpRequest) -> HttpResponse:
    """How much each customer ordered."""
    lines = []
    for customer in Customer.objects.all():
        # Wrong: two queries for each customer, more than the settings allow this page: `query_budget` on the request,
        # and `n_plus_one` on each of these lines. annotate() asks once for all.
        count = customer.orders.count()
        metres = customer.orders.aggregate(sum=Sum("metres"))["sum"]
        lines.append(f"{customer}: {count} orders, {metres} m")
    return _say(request, "\n".join(lines))


@require_GET
def export(request: HttpRequest) -> HttpResponse:
    """All orders, for a spreadsheet."""
    # Wrong: all of them are in memory at once, more every day: `unbounded_fetch`. iterator() reads some at a time.
    rows = [f"{order.pk},{order.customer_id},{order.thread},{order.metres}" for order in Order.objects.all()]
    return HttpResponse("\n".join(rows), content_type="text/csv")


@require_GET
def ranking(request: HttpRequest) -> HttpResponse:
    """The largest orders of each thread."""
    larger = Order.objects.filter(thread=OuterRef("thread"), metres__gt=OuterRef("metres")).order_by()
    counted = larger.values("thread").annotate(count=Count("pk")).values("count")
    # Wrong: each order is compared with every other, without an index to help: `slow_query`. Window(Rank()) sorts once.
    best = Order.objects.annotate(larger=Coalesce(Subquery(counted, output_field=IntegerField()), 0)).order_by("larger")
    lines = [f"{order.metres} m {order.get_thread_display()}" for order in best[:9]]
    return _say(request, "\n".join(lines))


@require_POST
def replica(request: HttpRequest) -> HttpResponse:
    """Place an order, and say how many the customer has by now."""
    customer = Customer.objects.all()[0]
    Order.objects.create(customer=customer, thread="red")
    # Wrong: the replica may not have the order yet, and here it never does: `stale_replica_read`. What was written in
    # this request is to be read from where it was written.
    count = Order.objects.using("replica").filter(customer_id=customer.pk).count()
    return _say(request, f"{customer} has placed {count} orders.")


@require_GET
def staff(request: HttpRequest) -> HttpResponse:
    """Which users may place orders."""
    # Wrong: each user's permissions are loaded for each of them, two queries a user: `permission_queries`.
    # User.objects.with_perm("shop.add_order") asks once for all.
    allowed = [user for user in User.objects.all() if user.has_perm("shop.add_order")]
    return _say(request, f"{len(allowed)} users may place orders.")


def _say(request: HttpRequest, text: str) -> HttpResponse:
    return render(request, "shop/mistakes/said.html", {"said": text})
