from django.urls import include, path, re_path

from tests.site import views

inner = ([path("page/<slug:name>/", views.page, name="page")], "inner")
urlpatterns = [
    path("", views.home, name="home"),
    path("plain/", views.plain),
    path("aplain/", views.aplain),
    path("class/", views.ClassView.as_view(), name="class"),
    path("aclass/", views.AsyncClassView.as_view()),
    path("partial/", views.partial_view),
    path("callable/", views.callable_view),
    path("decorated/", views.decorated),
    path("missing/", views.missing),
    path("forbidden/", views.forbidden),
    path("broken/", views.broken),
    path("stream/", views.stream),
    path("astream/", views.astream),
    path("stream-broken/", views.stream_broken),
    path("exit/", views.leave),
    path("slow/", views.slow),
    path("leaks/", views.leaks),
    path("aleaks/", views.aleaks),
    path("fills/", views.fills),
    path("forgets/", views.forgets),
    path("ablocks/", views.ablocks),
    path("awaits/", views.awaits),
    path("template-response/", views.template_response),
    path("baggage/", views.tenant_in_baggage),
    path("inner/", include(inner)),
    re_path(r"^regex/(?P<pk>\d+)/$", views.plain),
]
