"""Rows for one case: as many of each class as it asks for, every relation leading to another object."""

from __future__ import annotations

import datetime

from django.contrib.contenttypes.models import ContentType

from tests.detectors.corpus import models

DAY = datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)


def make(count: int) -> None:
    countries = _made(models.Country(name=f"country {n}", code=f"c{n}") for n in range(count))
    authors = _made(models.Author(name=f"author {n}", country=countries[n]) for n in range(count))
    _made(models.Profile(author=author, website="https://example.org") for author in authors)
    categories = _categories(count)
    colors = _made(models.Color(name=f"color {n}") for n in range(count))
    tags = _made(models.Tag(name=f"tag {n}", color=colors[n]) for n in range(count))
    posts = _made(
        models.Post(
            title=f"post {n}",
            created=DAY + datetime.timedelta(days=n),
            author=authors[n],
            editor=authors[(n + 1) % count],
            category=categories[n],
        )
        for n in range(count)
    )
    _around(posts, authors, tags)
    _others(count, posts)
    _music(count)


def _made(objects):
    objects = list(objects)
    return type(objects[0]).objects.bulk_create(objects)


def _categories(count):
    found = []
    for n in range(count):
        parent = found[-1] if found else None
        found.append(models.Category.objects.create(name=f"category {n}", parent=parent))
    return found


def _around(posts, authors, tags):
    count = len(posts)
    _made(models.Comment(post=post, author=authors[n - 1], text="?") for n, post in enumerate(posts))
    _made(models.Comment(post=post, author=authors[n - 2], text="!") for n, post in enumerate(posts))
    through = models.Post.tags.through
    _made(through(post=post, tag=tags[(n + k) % count]) for n, post in enumerate(posts) for k in (0, 1))
    _made(models.Reading(post=post, reader=authors[n - 1]) for n, post in enumerate(posts))
    friends, follows = models.Author.friends.through, models.Author.follows.through
    _made(friends(from_author=author, to_author=authors[n - 1]) for n, author in enumerate(authors))
    _made(follows(from_author=author, to_author=authors[n - 1]) for n, author in enumerate(authors))
    _made(models.Price(post=post, day=DAY.date(), amount=1) for post in posts)


def _others(count, posts):
    kind = ContentType.objects.get_for_model(models.Post)
    _made(models.Note(text="note", content_type=kind, object_id=post.pk) for post in posts)
    _made(models.Job(name=f"job {n}", due=DAY) for n in range(count))
    _made(models.Translation(key=f"key {n}", text="text") for n in range(count))
    for n in range(count):
        models.Restaurant.objects.create(name=f"restaurant {n}")


def _music(count):
    artists = _made(models.Artist(name=f"artist {n}") for n in range(count))
    albums = _made(models.Album(title=f"album {n}", slug=f"album-{n}", artist=artists[n]) for n in range(count))
    _made(models.Album(title="lost", slug=f"lost-{n}", artist=artists[n], is_deleted=True) for n in range(count))
    for n, album in enumerate(albums):
        album.similar_ids = [albums[n - 1].pk]
        album.save()
    genres = models.Genre.live.bulk_create([models.Genre(name=f"genre {n}") for n in range(count)])
    _made(models.Album.genres.through(album=album, genre=genres[n]) for n, album in enumerate(albums))
    _made(models.Track(album=albums[n], position=k, seconds=60) for n in range(count) for k in (1, 2))
    projects = _made(models.Project(name=f"project {n}") for n in range(count))
    _made(models.Ticket(name=f"ticket {n}", project=projects[n]) for n in range(count))
