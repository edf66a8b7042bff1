"""The demo site's URLs."""

from __future__ import annotations

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import include, path, re_path

from clew.cli.demo_site import stories, views

urlpatterns = [
    path("", views.home, name="home"),
    path("accounts/login/", LoginView.as_view(), name="login"),
    path("accounts/logout/", LogoutView.as_view(), name="logout"),
    path("orders/", views.orders, name="orders"),
    path("orders/new/", views.new_order, name="new_order"),
    path("orders/<int:number>/", views.order, name="order"),
    # As sites wrote them before Django 2; the trace says `invoices/<number>.txt`.
    re_path(r"^invoices/(?P<number>[0-9]+)\.txt$", views.invoice, name="invoice"),
    re_path(r"^archive/(?:(?P<year>[0-9]{4})/)?$", views.archive, name="archive"),
    path("closed/", views.never, name="closed"),
    path("rates/", views.rates, name="rates"),
    path("broken/", views.broken, name="broken"),
    path("stories/shelves/", stories.shelves, name="shelves"),
    path("stories/popular/", stories.popular, name="popular"),
    path("stories/exchange/", stories.exchange, name="exchange"),
    path("mistakes/", include("clew.cli.demo_site.mistakes.urls")),
    # Without a slash, as probes ask for it.
    path("healthz", views.healthz, name="healthz"),
]
