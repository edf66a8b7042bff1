"""`query_budget`: a request or task ran more queries than its route or name is allowed in `query_budgets`.

We stand at the end of the request or task, where the count is complete. Nothing is found without a budget: how many
queries are too many is the site's to say.
"""

from __future__ import annotations

from clew import attributes as names
from clew.engine import configuration
from clew.story.detector import Detector
from clew.story.findings import Finding
from clew.story.local_trace import LocalTrace


def _on_end(local: LocalTrace) -> None:
    budgets = dict(configuration.settings.query_budgets)
    if not budgets or local.queries is None:
        return
    where = local.where.get(names.HTTP_ROUTE) or local.where.get(names.CELERY_TASK_NAME) or ""
    budget = budgets.get(where, budgets.get(where.strip("^$/"), budgets.get("*")))
    count = local.queries.count
    if budget is None or count <= budget:
        return
    finding = Finding(
        "query_budget",
        f"{where or 'this'} ran {count} queries; its budget is {budget}",
        _fix(local),
        None,
        {"query_count": count, "budget": budget},
    )
    local.report(finding, "query_budget")


def _fix(local: LocalTrace) -> str:
    assert local.queries is not None
    repeated = [each for log in local.queries.aliases.values() for each in log.repeats.values() if each.count > 1]
    if not repeated:
        return "run fewer queries, or raise its entry in query_budgets"
    most = max(repeated, key=lambda each: each.count)
    query = most.statement.summary or "the query"
    return f"begin with {query}, which ran {most.count} times, or raise its entry in query_budgets"


DETECTOR = Detector(
    "query_budget",
    doc="A request or task ran more queries than `query_budgets` allows its route or task name (`*`: all others).",
    fix="Run fewer queries; the finding names the one that ran most often.",
    not_found="Anything without a budget.",
    on_end=_on_end,
)
