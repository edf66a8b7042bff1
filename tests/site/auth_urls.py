from django.contrib.auth import login as log_somebody_in
from django.contrib.auth import views as auth_views
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.urls import path


def enter(request):
    log_somebody_in(request, User.objects.get(), backend="django.contrib.auth.backends.ModelBackend")
    return HttpResponse("in")


urlpatterns = [
    path("login/", auth_views.LoginView.as_view(template_name="t/card.html", next_page="/"), name="login"),
    path("logout/", auth_views.LogoutView.as_view(next_page="/"), name="logout"),
    path("enter/", enter),
]
