"""What the shop needs before it can open: tables, a clerk who can log in, a few customers with orders."""

from __future__ import annotations

from django.contrib.auth import get_user_model
from django.core.management import call_command

from clew.cli.demo_drive import PASSWORD, USER
from clew.cli.demo_site.models import Customer, Order

_CUSTOMERS = ("Ada Lovelace", "Daedalus", "Grace Hopper")


def seed() -> None:
    """Make the tables and the first rows; may be called again."""
    call_command("migrate", verbosity=0, interactive=False)
    users = get_user_model()._default_manager
    if not users.filter(username=USER).exists():
        users.create_user(USER, f"{USER}@example.com", PASSWORD)
    # The database of docker compose outlives its containers.
    if Customer.objects.exists():
        return
    for name, (thread, _) in zip(_CUSTOMERS, Order.THREADS, strict=True):
        customer = Customer.objects.create(name=name, email=f"{name.split()[0].lower()}@example.com")
        Order.objects.create(customer=customer, thread=thread, state=Order.PACKED)
