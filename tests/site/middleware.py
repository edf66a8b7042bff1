from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.utils.decorators import sync_and_async_middleware
from django.utils.deprecation import MiddlewareMixin


class RaisingMiddleware(MiddlewareMixin):
    def process_request(self, request):
        raise ValueError("the middleware is broken")


class DenyingMiddleware(MiddlewareMixin):
    def process_request(self, request):
        raise PermissionDenied


class OtherUrlconfMiddleware(MiddlewareMixin):
    def process_request(self, request):
        request.urlconf = "tests.site.other_urls"


class AnsweringMiddleware(MiddlewareMixin):
    def process_request(self, request):
        return HttpResponse("closed", status=503)


class AnsweringViewHookMiddleware(MiddlewareMixin):
    def process_view(self, request, view, args, kwargs):
        return HttpResponse("not yet")


class RescuingMiddleware(MiddlewareMixin):
    def process_exception(self, request, exception):
        return HttpResponse("rescued")


class NotUsedMiddleware:
    def __init__(self, get_response):
        from django.core.exceptions import MiddlewareNotUsed

        raise MiddlewareNotUsed


class WorkingMiddleware(MiddlewareMixin):
    """Has a span of its own under its request phase, and one under its response phase."""

    def process_request(self, request):
        from opentelemetry import trace

        with trace.get_tracer("tests.site").start_as_current_span("work before"):
            trace.get_current_span()

    def process_response(self, request, response):
        from opentelemetry import trace

        with trace.get_tracer("tests.site").start_as_current_span("work after"):
            return response


class TaggingMiddleware(MiddlewareMixin):
    def process_request(self, request):
        from opentelemetry import trace

        trace.get_current_span().set_attribute("tenant", "acme")


@sync_and_async_middleware
def function_middleware(get_response):
    if iscoroutinefunction(get_response):

        async def middleware(request):
            return await get_response(request)
    else:

        def middleware(request):
            return get_response(request)

    return middleware


class AsyncOnlyMiddleware:
    async_capable = True
    sync_capable = False

    def __init__(self, get_response):
        self.get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request):
        return await self.get_response(request)


class TemplateResponseMiddleware(MiddlewareMixin):
    def process_template_response(self, request, response):
        return response


class TwiceMiddleware(MiddlewareMixin):
    """Asks for the response a second time, as a retrying middleware does."""

    def __call__(self, request):
        self.get_response(request)
        return self.get_response(request)
