from django.db.models.signals import post_save
from django.dispatch import receiver

from tests.detectors.corpus.models import Audit, Country, Job, Place, Restaurant


@receiver(post_save, sender=Job)
def note_job(sender, instance, **kwargs):
    if instance.name.startswith("counted"):
        Job.objects.filter(name=instance.name).count()


@receiver(post_save, sender=Country)
def note_authors(sender, instance, **kwargs):
    list(instance.author_set.all())


@receiver(post_save, sender=Place)
def note_place(sender, instance, **kwargs):
    if instance.name.startswith("audited"):
        Audit.objects.create(text=instance.name)


@receiver(post_save, sender=Restaurant)
def note_restaurant(sender, instance, **kwargs):
    return instance.stars
