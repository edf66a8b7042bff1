"""Tags of the shop's templates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from django import template

from clew.cli.demo_site.models import Order

register = template.Library()


@register.inclusion_tag("shop/_states.html")
def states(orders: Iterable[Order]) -> dict[str, Any]:
    """How many of these orders are in which state."""
    count = Counter(order.state for order in orders)
    return {"states": [(name, count[state]) for state, name in Order.STATES]}
