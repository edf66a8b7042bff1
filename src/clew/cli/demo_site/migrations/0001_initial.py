"""The shop's tables."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    """Customers and orders."""

    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Customer",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=80)),
                ("email", models.EmailField(max_length=254)),
            ],
            options={
                "ordering": ["name"],
            },
        ),
        migrations.CreateModel(
            name="Order",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "thread",
                    models.CharField(
                        choices=[("red", "Red thread"), ("gold", "Gold thread"), ("wool", "Ball of wool")], max_length=8
                    ),
                ),
                ("metres", models.PositiveIntegerField(default=100)),
                (
                    "state",
                    models.CharField(
                        choices=[("new", "new"), ("invoiced", "invoiced"), ("packed", "packed")],
                        default="new",
                        editable=False,
                        max_length=8,
                    ),
                ),
                ("invoice", models.TextField(blank=True, editable=False)),
                ("created", models.DateTimeField(auto_now_add=True)),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="orders", to="shop.customer"
                    ),
                ),
            ],
            options={
                "ordering": ["-created"],
            },
        ),
    ]
