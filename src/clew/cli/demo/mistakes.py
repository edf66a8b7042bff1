"""The shop's pages with a mistake in them: the site's home page lists them, `--findings` asks for each.

One for each finding that a page can show on the demo's own broker, a folder.

Here and not in the site, since the demo itself has no Django settings.
"""

from __future__ import annotations

from typing import NamedTuple


class Mistake(NamedTuple):
    """A page with a mistake.

    Args:
        finding: what clew calls it, on the page's trace.
        name: the page's, in its URL as in Django's `reverse`.
        method: how it is asked for: GET or POST.
        title: what it is for the shop.
        shows: what its trace shows.
        error: what fails in the worker because of it.
    """

    finding: str
    name: str
    method: str
    title: str
    shows: str
    error: str = ""

    @property
    def path(self) -> str:
        """Where the page is."""
        return f"/mistakes/{self.name}/"


MISTAKES = (
    Mistake("n_plus_one", "customers", "GET", "Who ordered what", "the line of the template that runs a query a row"),
    Mistake("repeated_query", "prices", "GET", "What gold has earned", "one price, looked up again for every order"),
    Mistake("write_in_loop", "invoices", "POST", "Reset the invoices", "rows that are saved one by one"),
    Mistake("query_budget", "turnover", "GET", "Turnover by customer", "more queries than the page is allowed"),
    Mistake("unbounded_fetch", "export", "GET", "Export the orders", "a whole table, read at once"),
    Mistake("slow_query", "ranking", "GET", "The largest orders", "the query that takes all the time"),
    Mistake("stale_replica_read", "replica", "POST", "Order and count", "a replica that lacks what was just written"),
    Mistake("permission_queries", "staff", "GET", "Who may order", "each user's permissions, loaded for each"),
    Mistake("io_in_transaction", "parcel", "POST", "Book a parcel", "a transaction that waits for another company"),
    Mistake("rolled_back_but_succeeded", "thanks", "POST", "Order too much", "thanks for an order that is not there"),
    Mistake(
        "publish_in_transaction",
        "early",
        "POST",
        "Order for pick-up",
        "a task sent before the COMMIT, and why it fails",
        "DoesNotExist",
    ),
    Mistake("late_binding_on_commit", "shipping", "POST", "Ship four orders", "lambdas that all ship the last one"),
    Mistake("duplicate_publish", "twice", "POST", "Pack an order", "two helpers that each send the same task"),
    Mistake("publish_in_loop", "stocktaking", "POST", "Pack all orders", "forty tasks that one line sends: one span"),
    Mistake(
        "silent_failure", "points", "POST", "Count the points", "a task that fails, and that Celery says succeeded"
    ),
)
