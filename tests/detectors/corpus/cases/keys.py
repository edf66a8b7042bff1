"""Lists and ranges of keys: one object's, or a batch; names that are looked for until one is free."""

import itertools
import random

from tests.detectors.corpus.case import bad, fine
from tests.detectors.corpus.models import Album, Author, Category, Post, Tag, Track

OWN, BATCH, SEARCH = "an object's keys", "batches of keys", "looking for a name"


@bad(OWN, "Album")
def keys_of_each_object(request):
    return [list(Album.objects.filter(pk__in=album.similar_ids)) for album in Album.objects.all()]


@bad(OWN, "Album")
def keys_of_each_object_in_a_method(request):
    return [album.similar() for album in Album.objects.all()]


@bad(OWN, "Album")
def keys_of_each_object_by_map(request):
    return list(map(Album.similar, Album.objects.all()))


@bad(OWN, "Tag")
def keys_of_each_row(request):
    found = {row["title"]: [row["pk"], row["pk"] + 1] for row in Post.objects.values("title", "pk")}
    return [list(Tag.objects.filter(pk__in=keys)) for title, keys in found.items()]


@bad(OWN, "Tag")
def keys_of_each_object_filled_before(request):
    found = []
    for post in Post.objects.prefetch_related("tags"):
        ids = [tag.pk for tag in post.tags.all()]
        found.append(Tag.objects.filter(pk__in=ids).count())
    return found


@fine(BATCH)
def keys_by_range_of_starts(request):
    ids = list(Post.objects.values_list("pk", flat=True))
    return [list(Post.objects.filter(pk__in=ids[start : start + 2])) for start in range(0, len(ids), 2)]


@fine(BATCH)
def keys_by_islice(request):
    ids, found = iter(list(Post.objects.values_list("pk", flat=True))), []
    while batch := list(itertools.islice(ids, 2)):
        found += Post.objects.filter(pk__in=batch)
    return found


@fine(BATCH)
def keys_by_enumerated_batches(request):
    ids, found = list(Post.objects.values_list("pk", flat=True)), []
    for number, batch in enumerate([ids[:2], ids[2:4], ids[4:]]):
        found.append((number, list(Post.objects.filter(pk__in=batch))))
    return found


@fine(BATCH)
def keys_in_batches_of_one(request):
    ids = list(Post.objects.values_list("pk", flat=True))
    return [list(Post.objects.filter(pk__in=batch)) for batch in ([pk] for pk in ids)]


@fine(BATCH)
def keys_in_batches_with_what_follows(request):
    ids, found = list(Post.objects.values_list("pk", flat=True)), []
    for batch in (ids[:2], ids[2:4], ids[4:]):
        for post in Post.objects.filter(pk__in=batch).select_related("author"):
            author = post.author
            found.append(author.name)
    return found


@fine(BATCH)
def keys_level_by_level(request):
    level, found = [Category.objects.get(parent=None).pk], []
    while level:
        found += level
        level = list(Category.objects.filter(parent__in=level).values_list("pk", flat=True))
    return found


@fine(BATCH)
def keys_level_by_level_to_a_depth(request):
    level = [Category.objects.get(parent=None).pk]
    for _ in range(5):
        level = [each.pk for each in Category.objects.filter(parent_id__in=level)]
    return level


@fine(BATCH)
def keys_by_ranges_without_limit(request):
    first, last = Post.objects.first().pk, Post.objects.last().pk
    return [list(Post.objects.filter(pk__gte=start, pk__lt=start + 2)) for start in range(first, last + 1, 2)]


@fine(BATCH)
def keys_by_ranges_between(request):
    first = Post.objects.first().pk
    return [list(Post.objects.filter(pk__range=(start, start + 1))) for start in range(first, first + 10, 2)]


@fine(BATCH)
def keys_by_ranges_counted(request):
    first = Track.objects.first().pk
    return sum(Track.objects.filter(id__gt=n, id__lte=n + 2).count() for n in range(first, first + 12, 2))


@fine(SEARCH)
def slug_that_is_free(request):
    slug, number = "album-0", 0
    while Album.objects.filter(slug=slug).exists():
        number += 1
        slug = f"album-{number}"
    return slug


@fine(SEARCH)
def slug_that_is_free_by_count(request):
    for number in itertools.count():
        if not Album.objects.filter(slug=f"album-{number}").exists():
            break
    return number


@fine(SEARCH)
def slug_that_is_free_by_recursion(request):
    def free(number=0):
        return free(number + 1) if Album.objects.filter(slug=f"album-{number}").exists() else number

    return free()


@fine(SEARCH)
def slug_that_is_random(request):
    pick, tried = random.Random(1), 0
    while True:
        tried += 1
        slug = f"album-{pick.randint(0, 5)}" if tried < 8 else "free"
        if not Album.objects.filter(slug=slug).exists():
            return slug


@fine(SEARCH)
def slug_in_a_helper_for_each(request):
    def free(base):
        slug, number = base, 0
        while Album.objects.filter(slug=slug).exists():
            number += 1
            slug = f"{base}-{number}"
        return slug

    return [free(name) for name in ("album", "song", "tune")]


@bad(SEARCH, "Author")
def names_that_exist(request):
    return [name for name in ("author 1", "a", "author 2", "b", "c", "d") if Author.objects.filter(name=name).exists()]
