"""The demo site's URLs."""

from __future__ import annotations

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import include, path

from clew.cli.demo_site import views

urlpatterns = [
    path("", views.home, name="home"),
    path("accounts/login/", LoginView.as_view(), name="login"),
    path("accounts/logout/", LogoutView.as_view(), name="logout"),
    path("orders/", views.orders, name="orders"),
    path("orders/new/", views.new_order, name="new_order"),
    path("orders/<int:number>/", views.order, name="order"),
    path("closed/", views.never, name="closed"),
    path("rates/", views.rates, name="rates"),
    path("broken/", views.broken, name="broken"),
    path("mistakes/", include("clew.cli.demo_site.mistakes.urls")),
    # Without a slash, as probes ask for it.
    path("healthz", views.healthz, name="healthz"),
]
