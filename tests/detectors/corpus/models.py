from __future__ import annotations

from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.utils.functional import cached_property


class Country(models.Model):
    name = models.CharField(max_length=50)
    code = models.CharField(max_length=8, unique=True)

    def __str__(self):
        return self.name


class Author(models.Model):
    name = models.CharField(max_length=50, unique=True)
    bio = models.TextField(default="")
    country = models.ForeignKey(Country, models.CASCADE)
    friends = models.ManyToManyField("self")
    follows = models.ManyToManyField("self", symmetrical=False, related_name="followers")

    def __str__(self):
        return self.name

    def published(self):
        return self.posts.filter(is_published=True)

    @cached_property
    def post_count(self):
        return self.posts.count()

    @property
    def country_name(self):
        return self.country.name


class Profile(models.Model):
    author = models.OneToOneField(Author, models.CASCADE)
    website = models.CharField(max_length=100)


class Category(models.Model):
    name = models.CharField(max_length=50)
    parent = models.ForeignKey("self", models.CASCADE, null=True, related_name="children")

    def path(self):
        return f"{self.parent.path()} / {self.name}" if self.parent else self.name

    def descendants(self):
        for child in self.children.all():
            yield child
            yield from child.descendants()


class Tag(models.Model):
    name = models.CharField(max_length=50)
    color = models.ForeignKey("Color", models.CASCADE, null=True)


class Color(models.Model):
    name = models.CharField(max_length=50)


class PostQuerySet(models.QuerySet):
    def published(self):
        return self.filter(is_published=True)

    def by_title(self, title):
        return self.get(title=title)

    def with_author(self):
        return self.select_related("author")

    def latest_of(self, author):
        return self.filter(author=author).order_by("-created").first()


class Post(models.Model):
    title = models.CharField(max_length=100)
    body = models.TextField(default="")
    is_published = models.BooleanField(default=True)
    created = models.DateTimeField()
    author = models.ForeignKey(Author, models.CASCADE, related_name="posts")
    editor = models.ForeignKey(Author, models.CASCADE, related_name="edited")
    category = models.ForeignKey(Category, models.CASCADE, null=True)
    tags = models.ManyToManyField(Tag, related_name="posts")
    readers = models.ManyToManyField(Author, through="Reading", related_name="read_posts")
    notes = GenericRelation("Note")

    objects = PostQuerySet.as_manager()

    def __str__(self):
        return self.title

    def byline(self):
        return f"{self.title} by {self.author.name}"

    def last_comment(self):
        return self.comments.order_by("-id").first()


class Reading(models.Model):
    post = models.ForeignKey(Post, models.CASCADE)
    reader = models.ForeignKey(Author, models.CASCADE)


class Comment(models.Model):
    post = models.ForeignKey(Post, models.CASCADE, related_name="comments")
    author = models.ForeignKey(Author, models.CASCADE)
    text = models.TextField()
    is_spam = models.BooleanField(default=False)

    def __str__(self):
        return f"{self.author.name}: {self.text}"


class Note(models.Model):
    text = models.CharField(max_length=50)
    content_type = models.ForeignKey(ContentType, models.CASCADE)
    object_id = models.PositiveIntegerField()
    subject = GenericForeignKey()


class Place(models.Model):
    name = models.CharField(max_length=50)


class Restaurant(Place):
    stars = models.IntegerField(default=0)


class Price(models.Model):
    post = models.ForeignKey(Post, models.CASCADE)
    day = models.DateField()
    amount = models.DecimalField(max_digits=8, decimal_places=2)


class Job(models.Model):
    name = models.CharField(max_length=50)
    state = models.CharField(max_length=10, default="new")
    due = models.DateTimeField()


class Audit(models.Model):
    """Written by a receiver of signals; see signals.py."""

    text = models.CharField(max_length=100)


class OfButtons(models.Manager):
    def get_queryset(self):
        return super().get_queryset().filter(key__startswith="button")


class Translation(models.Model):
    key = models.CharField(max_length=50, unique=True)
    text = models.CharField(max_length=100)

    objects = models.Manager()
    of_buttons = OfButtons()


class LiveManager(models.Manager):
    """Soft deletion."""

    def get_queryset(self):
        return super().get_queryset().filter(is_deleted=False)


class Artist(models.Model):
    """Its foreign keys too lead to none that is deleted."""

    name = models.CharField(max_length=50)
    albums_count = models.IntegerField(default=0)
    is_deleted = models.BooleanField(default=False)

    objects = LiveManager()
    everything = models.Manager()

    class Meta:
        base_manager_name = "objects"


class Album(models.Model):
    title = models.CharField(max_length=50)
    slug = models.SlugField(unique=True)
    artist = models.ForeignKey(Artist, models.CASCADE, null=True, related_name="albums")
    genres = models.ManyToManyField("Genre", related_name="albums")
    is_deleted = models.BooleanField(default=False)
    similar_ids = models.JSONField(default=list)

    objects = LiveManager()

    def similar(self):
        return list(Album.objects.filter(pk__in=self.similar_ids))


class Genre(models.Model):
    name = models.CharField(max_length=50)
    is_deleted = models.BooleanField(default=False)

    live = LiveManager()


class Track(models.Model):
    album = models.ForeignKey(Album, models.CASCADE)
    position = models.IntegerField()
    seconds = models.IntegerField(default=0)


class TenantQuerySet(models.QuerySet):
    def of_tenant(self):
        return self.filter(tenant=1).order_by("name")


class TenantManager(models.Manager.from_queryset(TenantQuerySet)):
    def get_queryset(self):
        return super().get_queryset().of_tenant()


class Project(models.Model):
    tenant = models.IntegerField(default=1)
    name = models.CharField(max_length=50)
    parent = models.ForeignKey("self", models.CASCADE, null=True, related_name="parts")

    objects = TenantManager()


class Ticket(models.Model):
    tenant = models.IntegerField(default=1)
    name = models.CharField(max_length=50)
    project = models.ForeignKey(Project, models.CASCADE, related_name="tickets")

    objects = TenantManager()
