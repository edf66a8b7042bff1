"""The form that places an order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django import forms

from clew.cli.demo_site.models import Order

# Only the stubs know that a form is one of a model.
if TYPE_CHECKING:
    _OrderModelForm = forms.ModelForm[Order]
else:
    _OrderModelForm = forms.ModelForm


class OrderForm(_OrderModelForm):
    """What a clerk enters."""

    class Meta:
        """The fields of the order."""

        model = Order
        fields = ["customer", "thread", "metres"]
