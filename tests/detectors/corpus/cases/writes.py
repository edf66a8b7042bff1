"""Writes, and the reads they bring with them."""

import datetime

from django.db import transaction

from tests.detectors.corpus.case import bad, fine
from tests.detectors.corpus.models import Author, Comment, Country, Job, Post, Restaurant, Tag, Translation
from tests.detectors.corpus.rows import DAY

KIND = "writes"


@bad(KIND, "Post.author")
def write_with_foreign_key_read(request):
    for post in Post.objects.all():
        post.body = post.author.name
        post.save(update_fields=["body"])


@bad(KIND, "Comment")
def write_where_none_exists(request):
    author = Author.objects.first()
    for post in Post.objects.all():
        if not Comment.objects.filter(post=post, text="first!").exists():
            Comment.objects.create(post=post, author=author, text="first!")


@fine(KIND)
def write_get_or_create(request):
    for n in range(4, 10):
        Translation.objects.get_or_create(key=f"key {n}", defaults={"text": "new"})


@fine(KIND)
def write_update_or_create(request):
    for n in range(4, 10):
        Translation.objects.update_or_create(key=f"key {n}", defaults={"text": "new"})


@fine(KIND)
def write_bulk_create(request):
    Job.objects.bulk_create([Job(name=f"new {n}", due=DAY) for n in range(30)], batch_size=2)


@fine(KIND)
def write_bulk_update(request):
    posts = list(Post.objects.all())
    for post in posts:
        post.title = "same"
    Post.objects.bulk_update(posts, ["title"], batch_size=1)


@fine(KIND)
def write_delete_cascade(request):
    Country.objects.all().delete()


@fine(KIND)
def write_delete_each(request):
    for author in list(Author.objects.all()):
        author.delete()


@fine(KIND)
def write_save_each(request):
    for post in Post.objects.all():
        post.created += datetime.timedelta(days=1)
        post.save()


@fine(KIND)
def write_many_to_many_each(request):
    tag = Tag.objects.create(name="all")
    for post in Post.objects.all():
        post.tags.add(tag)


@fine(KIND)
def write_many_to_many_set(request):
    tags = list(Tag.objects.all()[:2])
    for post in Post.objects.all():
        post.tags.set(tags)


@fine(KIND)
def write_full_clean_each(request):
    for n in range(6):
        author = Author(name=f"new {n}", bio="b", country_id=Country.objects.order_by("pk").last().pk)
        author.full_clean()


@fine(KIND)
def write_inherited(request):
    for n in range(6):
        with transaction.atomic():
            Restaurant.objects.create(name=f"new {n}")


@fine(KIND)
def write_and_read_again(request):
    for _ in range(6):
        Post.objects.filter(title="post 1").update(body="x")
        Post.objects.get(title="post 1")
