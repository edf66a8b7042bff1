from django.urls import path

from tests.site import template_views as views

urlpatterns = [
    path("t/<str:name>", views.show),
    path("many/", views.many),
    path("string/", views.from_string),
    path("j/<str:name>", views.jinja),
    path("j-stream/", views.jinja_stream),
]
