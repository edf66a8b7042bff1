import asyncio
import functools
import threading
import time

from asgiref.sync import sync_to_async
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.views import View
from django.views.decorators.http import require_GET
from opentelemetry import trace

tracer = trace.get_tracer("tests.site")


def home(request):
    return HttpResponse("home")


def plain(request, **kwargs):
    return HttpResponse("plain")


async def aplain(request):
    return HttpResponse(threading.current_thread().name)


class ClassView(View):
    def get(self, request):
        return HttpResponse("class")


class AsyncClassView(View):
    async def get(self, request):
        return HttpResponse("class")


def with_word(request, word):
    return HttpResponse(word)


partial_view = functools.partial(with_word, word="partial")


class Callable:
    def __call__(self, request):
        return HttpResponse("callable")


callable_view = Callable()


@require_GET
def decorated(request):
    return HttpResponse("decorated")


def missing(request):
    raise Http404("no such thing")


def forbidden(request):
    raise PermissionDenied


def broken(request):
    raise ValueError("the view is broken, password=hunter2")


def parts():
    for number in range(3):
        with trace.get_tracer("tests.site").start_as_current_span(f"part {number}"):
            yield f"part {number}\n"


def stream(request):
    return StreamingHttpResponse(parts())


def broken_parts():
    yield "first"
    raise ValueError("half way")


def stream_broken(request):
    return StreamingHttpResponse(broken_parts())


async def aparts():
    for number in range(3):
        with trace.get_tracer("tests.site").start_as_current_span(f"part {number}"):
            await asyncio.sleep(0)
            yield f"part {number}\n"


async def astream(request):
    return StreamingHttpResponse(aparts())


def leave(request):
    raise SystemExit(3)


async def ablocks(request):
    time.sleep(0.5)
    return HttpResponse("blocked")


def takes_long():
    time.sleep(0.3)


async def awaits(request):
    await asyncio.gather(sync_to_async(takes_long)(), sync_to_async(int)())
    return HttpResponse("waited")


KEPT = []


def leaks(request):
    KEPT.append(bytearray(b"x") * (512 * 1024))
    return HttpResponse("kept")


async def aleaks(request):
    return leaks(request)


def fills(request):
    return leaks(request) if len(KEPT) < 30 else HttpResponse("full")


def forgets(request):
    return HttpResponse(str(len(bytearray(b"x") * (4 * 1024 * 1024))))


async def slow(request):
    await asyncio.sleep(30)
    return HttpResponse("late")


def page(request, name):
    return HttpResponse(name)


def page_of_other(request, anything):
    return HttpResponse(anything)


def template_response(request):
    from django.template import engines
    from django.template.response import SimpleTemplateResponse

    return SimpleTemplateResponse(engines["django"].from_string("rendered"))


def tenant_in_baggage(request):
    from opentelemetry import baggage

    return HttpResponse(baggage.get_baggage("tenant"))
