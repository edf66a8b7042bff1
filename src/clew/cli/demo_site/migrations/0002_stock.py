"""What is in stock, and codes to pick orders up with."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """A table and a column."""

    dependencies = [("shop", "0001_initial")]

    operations = [
        migrations.CreateModel(
            name="Stock",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "thread",
                    models.CharField(
                        choices=[("red", "Red thread"), ("gold", "Gold thread"), ("wool", "Ball of wool")],
                        max_length=8,
                        unique=True,
                    ),
                ),
                ("metres", models.PositiveIntegerField()),
                ("price", models.PositiveIntegerField()),
            ],
        ),
        migrations.AddField(
            model_name="order",
            name="pick_up_code",
            field=models.CharField(blank=True, default="", editable=False, max_length=128),
            preserve_default=False,
        ),
    ]
