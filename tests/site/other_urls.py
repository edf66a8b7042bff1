from django.urls import path

from tests.site import views

urlpatterns = [path("<slug:anything>/", views.page_of_other, name="other")]
