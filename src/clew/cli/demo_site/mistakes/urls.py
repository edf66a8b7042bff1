"""URLs of the pages with mistakes; `clew.cli.demo.mistakes` says what each is."""

from __future__ import annotations

from django.urls import path

from clew.cli.demo_site.mistakes import carrier, queries, transactions

urlpatterns = [
    path("customers/", queries.customers, name="customers"),
    path("prices/", queries.prices, name="prices"),
    path("invoices/", queries.invoices, name="invoices"),
    path("turnover/", queries.turnover, name="turnover"),
    path("export/", queries.export, name="export"),
    path("ranking/", queries.ranking, name="ranking"),
    path("replica/", queries.replica, name="replica"),
    path("staff/", queries.staff, name="staff"),
    path("parcel/", transactions.parcel, name="parcel"),
    path("thanks/", transactions.thanks, name="thanks"),
    path("early/", transactions.early, name="early"),
    path("shipping/", transactions.shipping, name="shipping"),
    path("twice/", transactions.twice, name="twice"),
    path("stocktaking/", transactions.stocktaking, name="stocktaking"),
    path("points/", transactions.points, name="points"),
    path("carrier/", carrier.answer, name="carrier"),
]
