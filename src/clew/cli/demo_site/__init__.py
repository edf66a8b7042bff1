"""The site of `clew demo`: a small shop, built as a real Django + Celery project is.

Its pages each have one thing to show in a trace: `views.PAGES` lists them, `mistakes` has those that are wrong.
"""

# As Celery's documentation has it: otherwise the site's tasks go to an app of Celery's making, and another broker.
from clew.cli.demo_site.celery_app import app as celery_app

__all__ = ["celery_app"]
