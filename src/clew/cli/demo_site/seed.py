"""What the shop needs before it can open: tables, a clerk who can log in, customers with orders, stock, a replica."""

from __future__ import annotations

from pathlib import Path

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connections

from clew.cli.demo.drive import PASSWORD, USER
from clew.cli.demo_site.models import Customer, Order, Stock

_CUSTOMERS = (
    *("Ada Lovelace", "Daedalus", "Grace Hopper", "Ariadne", "Barbara Liskov", "Clotho"),
    *("Edith Clarke", "Lachesis", "Mary Somerville", "Penelope", "Radia Perlman", "Theseus"),
)
# So many that reading all of them, or comparing each with each, is felt.
_ORDERS = 2000
_ASSISTANTS = 9


def seed() -> None:
    """Make the tables and the first rows; may be called again."""
    call_command("migrate", verbosity=0, interactive=False)
    users = get_user_model()._default_manager
    if not users.filter(username=USER).exists():
        users.create_user(USER, f"{USER}@example.com", PASSWORD)
        # Nobody logs in as one of these.
        users.bulk_create(users.model(username=f"assistant-{number}", password="!") for number in range(_ASSISTANTS))
    # The database of docker compose outlives its containers, and may be older than what came to be sold since.
    if not Customer.objects.exists():
        _open_books()
    if not Stock.objects.exists():
        _fill_shelves()
    _copy_to_replica()


def _open_books() -> None:
    for name in _CUSTOMERS:
        Customer.objects.create(name=name, email=f"{name.split()[0].lower()}@example.com")


def _fill_shelves() -> None:
    for thread, _ in Order.THREADS:
        Stock.objects.create(thread=thread, metres=5000, price=90 if thread == "gold" else 2)
    customers = list(Customer.objects.all())
    Order.objects.bulk_create(
        Order(
            customer=customers[number % len(customers)],
            thread=Order.THREADS[number % 3][0],
            metres=100 + number * 37 % 900,
            state=Order.PACKED,
        )
        for number in range(_ORDERS)
    )


def _copy_to_replica() -> None:
    """A replica that lags behind for good: it has the shop as it opened."""
    replica = connections["replica"]
    replica.close()
    file = Path(replica.settings_dict["NAME"])
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    for model in (Customer, Order):
        with replica.schema_editor() as editor:
            editor.create_model(model)
        model._default_manager.using("replica").bulk_create(model._default_manager.all())
