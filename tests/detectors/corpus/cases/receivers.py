"""Queries of signals' receivers."""

from tests.detectors.corpus import signals  # noqa: F401
from tests.detectors.corpus.case import bad, fine
from tests.detectors.corpus.models import Country, Job, Place
from tests.detectors.corpus.rows import DAY

KIND = "signals"


@bad(KIND, "Job")
def receiver_queries_for_each(request):
    for n in range(6):
        Job.objects.create(name=f"counted {n}", due=DAY)


@bad(KIND, "Country.author_set")
def receiver_reads_a_relation(request):
    for country in Country.objects.all():
        country.save()


@fine(KIND)
def receiver_once(request):
    Job.objects.create(name="counted", due=DAY)
    Country.objects.first().save()


@fine(KIND)
def receiver_not_called(request):
    Job.objects.bulk_create([Job(name=f"counted {n}", due=DAY) for n in range(6)])


@fine(KIND)
def receiver_that_writes(request):
    for n in range(6):
        Place.objects.create(name=f"audited {n}")
