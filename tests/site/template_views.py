from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.template import Context, Template, engines
from django.template.loader import get_template
from django.utils.functional import SimpleLazyObject


class Explosive:
    """Raises where it is shown."""

    def __init__(self):
        self.error = ValueError("in the template")

    def __str__(self):
        raise self.error


def never():
    raise AssertionError("evaluated")


def context():
    return {
        "items": [1, 2, 3],
        "item": 0,
        "explode": Explosive(),
        "lazy": SimpleLazyObject(never),
        "parent": get_template("t/base.html"),
    }


def show(request, name):
    return render(request, f"t/{name}", context())


def many(request):
    return render(request, "t/page.html", {"items": range(500)})


def from_string(request):
    return HttpResponse(Template("<i>{{ item }}</i>").render(Context({"item": 1})))


def jinja(request, name):
    return HttpResponse(engines["jinja2"].get_template(f"j/{name}").render({"items": [1, 2, 3], "explode": boom}))


def jinja_stream(request):
    template = engines["jinja2"].get_template("j/page.html").template
    return StreamingHttpResponse(template.generate(items=[1, 2, 3]))


def boom():
    raise ValueError("in the template")
