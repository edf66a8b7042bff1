"""Customers, their orders, and what is in stock."""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.urls import reverse


class Customer(models.Model):
    """Somebody who orders."""

    name: models.CharField[str, str] = models.CharField(max_length=80)
    email: models.CharField[str, str] = models.EmailField()
    # Django adds a manager, for `Order.customer`.
    orders: models.QuerySet[Order]

    class Meta:
        """By name."""

        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Order(models.Model):
    """Some pieces of one thing for one customer; tasks move its state on."""

    NEW, INVOICED, PACKED = "new", "invoiced", "packed"
    THREADS = [("red", "Red thread"), ("gold", "Gold thread"), ("wool", "Ball of wool")]
    STATES = [(NEW, "new"), (INVOICED, "invoiced"), (PACKED, "packed")]

    customer_id: int
    customer: models.ForeignKey[Customer, Customer] = models.ForeignKey(Customer, models.CASCADE, related_name="orders")
    thread: models.CharField[str, str] = models.CharField(max_length=8, choices=THREADS)
    metres: models.IntegerField[int, int] = models.PositiveIntegerField(default=100)
    state: models.CharField[str, str] = models.CharField(max_length=8, choices=STATES, default=NEW, editable=False)
    invoice: models.TextField[str, str] = models.TextField(blank=True, editable=False)
    # Hashed, as passwords are.
    pick_up_code: models.CharField[str, str] = models.CharField(max_length=128, blank=True, editable=False)
    created: models.DateTimeField[datetime, datetime] = models.DateTimeField(auto_now_add=True)

    class Meta:
        """Newest first."""

        ordering = ["-created"]

    def __str__(self) -> str:
        return f"order {self.pk}"

    def get_absolute_url(self) -> str:
        """The order's page."""
        return reverse("order", args=[self.pk])


class Stock(models.Model):
    """How much of a thread there is, and what it costs."""

    thread: models.CharField[str, str] = models.CharField(max_length=8, choices=Order.THREADS, unique=True)
    metres: models.IntegerField[int, int] = models.PositiveIntegerField()
    price: models.IntegerField[int, int] = models.PositiveIntegerField()

    def __str__(self) -> str:
        return f"{self.metres} m {self.thread}"
