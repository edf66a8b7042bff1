"""What spans, metrics and log records come from: named by the project, with the process and the distribution, redacted.

A provider's resource cannot be changed, so it is replaced, also in what the provider has made before.
"""

from __future__ import annotations

import os
import weakref
from typing import Any

from opentelemetry import metrics
from opentelemetry._logs import get_logger_provider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from clew.engine import forks, redaction
from clew.export import metrics_fork
from clew.version import VERSION

_described: weakref.WeakSet[TracerProvider] = weakref.WeakSet()


def of_project(service_name: str) -> Resource:
    """The resource of providers that are made here.

    Args:
        service_name: empty: OTEL_SERVICE_NAME, else the package of the settings.
    """
    resource = Resource.create({"service.name": service_name} if service_name else {})
    if str(resource.attributes.get("service.name", "")).startswith("unknown_service"):
        project = os.environ.get("DJANGO_SETTINGS_MODULE", "").partition(".")[0]
        if project:
            return resource.merge(Resource({"service.name": project}))
    return resource


def describe(provider: TracerProvider) -> None:
    """Say which distribution and which process a provider's spans come from; a distro's own does not."""
    _described.add(provider)
    known = dict(provider.resource.attributes)
    distribution = {"telemetry.distro.name": "clew", "telemetry.distro.version": VERSION}
    _merge(provider, {**({} if "telemetry.distro.name" in known else distribution), "process.pid": os.getpid()})


def redact() -> None:
    """Take secrets out of the resources of all signals: of OTEL_RESOURCE_ATTRIBUTES, of the command line."""
    for provider in list(_described):
        if secrets := redaction.redactor.attributes(provider.resource.attributes):
            _merge(provider, secrets)
    config = getattr(metrics.get_meter_provider(), "_sdk_config", None)
    if config is not None and (secrets := redaction.redactor.attributes(config.resource.attributes)):
        config.resource = config.resource.merge(Resource(secrets))
    logs = getattr(get_logger_provider(), "_resource", None)
    if logs is not None and (secrets := redaction.redactor.attributes(logs.attributes)):
        _merge_logs(Resource(secrets))


def _merge(provider: TracerProvider, attributes: dict[str, Any]) -> None:
    provider._resource = provider.resource.merge(Resource(attributes))
    for tracer in list(getattr(provider, "_tracers", {}).values()):
        tracer.resource = provider._resource


def _merge_logs(more: Resource) -> None:
    provider: Any = get_logger_provider()
    provider._resource = provider._resource.merge(more)
    for each in [*getattr(provider, "_active_loggers", ()), *getattr(provider, "_logger_cache", {}).values()]:
        each._resource = provider._resource


@forks.renew
def _after_fork() -> None:
    if not _described:
        return
    pid = {"process.pid": os.getpid()}
    for provider in list(_described):
        _merge(provider, pid)
    metrics_fork.renew(Resource(pid))
    if hasattr(get_logger_provider(), "_resource"):
        _merge_logs(Resource(pid))
