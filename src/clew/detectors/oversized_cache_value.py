"""`oversized_cache_value`: a value so large that to fetch it costs more than many a query.

We stand where Django's Redis cache pickles and unpickles (seam django.cache), the only place where its size is seen
without pickling it once more. Not found: other caches, whose libraries serialise out of sight.
"""

from __future__ import annotations

from clew.engine import configuration
from clew.source.call_site import call_site
from clew.story.cache_operation import CacheLog, CacheOperation
from clew.story.detector import Detector
from clew.story.findings import Finding

_TYPE = "oversized_cache_value"


def _on_cache(operation: CacheOperation, log: CacheLog) -> None:
    threshold_kb = configuration.settings.oversized_cache_value_threshold_kb
    if not threshold_kb or operation.size_bytes < threshold_kb * 1024:
        return
    size_kb = operation.size_bytes / 1024
    finding = Finding(
        _TYPE,
        f"{operation.name} {operation.template!r} of cache {operation.alias!r} moves {size_kb:.0f} KiB",
        "cache less of it (ids or a few fields instead of whole objects), or parts of it under keys of their own",
        operation.site or call_site(operation.frame),
        {"size_bytes": operation.size_bytes, "alias": operation.alias, "operation": operation.name},
    )
    operation.report(finding, (_TYPE, operation.alias, operation.template, str(finding.site)))


DETECTOR = Detector(
    _TYPE,
    doc="A value of Django's Redis cache is larger than `oversized_cache_value_threshold_kb`.",
    fix="Cache ids or a few fields instead of whole objects, or parts under keys of their own.",
    not_found="Other caches: their libraries serialise out of sight.",
    on_remote_cache=_on_cache,
)
