"""What real sites do that looks like an N+1 and is none: trees, imports, exports, permissions, pages, queues."""

import itertools

from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.core.cache import cache
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import Count, Exists, F, OuterRef, Prefetch, Q, Subquery
from django.shortcuts import get_list_or_404

from tests.detectors.corpus.case import bad, fine
from tests.detectors.corpus.cases.templates import rendered
from tests.detectors.corpus.models import (
    Album,
    Artist,
    Author,
    Category,
    Comment,
    Country,
    Genre,
    Job,
    Note,
    Place,
    Post,
    Project,
    Restaurant,
    Tag,
    Track,
    Translation,
)
from tests.detectors.corpus.rows import DAY

KIND = "real idioms"


@fine(KIND)
def idiom_tree_by_path(request):
    """As treebeard does: one query for all below a node."""
    root = Category.objects.order_by("pk").first()
    return list(Category.objects.filter(name__startswith=root.name[:8]).order_by("name"))


@fine(KIND)
def idiom_tree_cached_in_python(request):
    by_parent = {}
    for each in Category.objects.all():
        by_parent.setdefault(each.parent_id, []).append(each)

    def walk(pk):
        return [(each.name, walk(each.pk)) for each in by_parent.get(pk, ())]

    return walk(None)


@fine(KIND)
def idiom_tree_levels_as_sets(request):
    level, seen = set(Category.objects.filter(parent=None).values_list("pk", flat=True)), set()
    while level:
        seen |= level
        level = set(Category.objects.filter(parent_id__in=level).exclude(pk__in=seen).values_list("pk", flat=True))
    return seen


@fine(KIND)
def idiom_ancestors_by_keys(request):
    keys, found = {Category.objects.last().pk}, []
    for _ in range(5):
        rows = list(Category.objects.filter(pk__in=keys))
        found += rows
        keys = {each.parent_id for each in rows if each.parent_id}
    return found


@fine(KIND)
def idiom_polymorphic_by_type(request):
    """As django-polymorphic does: one query for each class, of all its keys."""
    keys = list(Place.objects.values_list("pk", flat=True))
    return [list(model.objects.filter(pk__in=keys)) for model in (Restaurant, Place)]


@fine(KIND)
def idiom_polymorphic_generic(request):
    by_type = {}
    for note in Note.objects.all():
        by_type.setdefault(note.content_type_id, []).append(note.object_id)
    return [
        list(ContentType.objects.get_for_id(pk).model_class().objects.filter(pk__in=ids)) for pk, ids in by_type.items()
    ]


@fine(KIND)
def idiom_content_types_in_a_loop(request):
    ContentType.objects.clear_cache()
    return [ContentType.objects.get_for_model(model).pk for model in (Post, Author, Tag, Comment, Note, Album)]


@fine(KIND)
def idiom_permissions_of_one_user(request):
    user = User.objects.create(username="one")
    user.user_permissions.set(Permission.objects.all()[:3])
    return [user.has_perm(f"corpus.{verb}_{name}") for verb in ("add", "view") for name in ("post", "tag", "note")]


@fine(KIND)
def idiom_permissions_of_groups_at_once(request):
    users = User.objects.prefetch_related("groups__permissions", "user_permissions")
    return [[group.permissions.all() for group in user.groups.all()] for user in users]


@fine(KIND)
def idiom_paginated_api(request):
    found = []
    for number in range(1, 4):
        page = Paginator(Post.objects.select_related("author").order_by("pk"), 2).page(number)
        found.append([post.author.name for post in page])
    return found


@fine(KIND)
def idiom_cursor_pagination(request):
    last, found = None, []
    while True:
        posts = Post.objects.order_by("-created", "-pk")
        if last is not None:
            posts = posts.filter(Q(created__lt=last.created) | Q(created=last.created, pk__lt=last.pk))
        page = list(posts[:2])
        if not page:
            return found
        found += page
        last = page[-1]


@fine(KIND)
def idiom_export_in_pages_with_relations(request):
    found, pages = [], Paginator(Post.objects.order_by("pk").prefetch_related("tags", "comments__author"), 2)
    for number in pages.page_range:
        for post in pages.page(number):
            found.append(
                (post.title, [tag.name for tag in post.tags.all()], [c.author.name for c in post.comments.all()])
            )
    return found


@fine(KIND)
def idiom_import_with_get_or_create(request):
    for n in range(8):
        Tag.objects.get_or_create(name=f"tag {n + 3}")


@fine(KIND)
def idiom_import_with_update_or_create(request):
    for n in range(8):
        with transaction.atomic():
            Translation.objects.update_or_create(key=f"key {n}", defaults={"text": str(n)})


@fine(KIND)
def idiom_import_looked_up_before(request):
    known = {country.code: country for country in Country.objects.filter(code__in=[f"c{n}" for n in range(6)])}
    return [Author(name=f"new {n}", country=known[f"c{n}"]) for n in range(6)]


@fine(KIND)
def idiom_import_with_savepoints(request):
    for n in range(6):
        try:
            with transaction.atomic():
                Translation.objects.create(key=f"key {n}", text="double")
        except Exception:
            continue


@fine(KIND)
def idiom_data_migration(request):
    for post in Post.objects.select_related("author").iterator(chunk_size=2):
        post.body = post.author.name
        post.save(update_fields=["body"])


@fine(KIND)
def idiom_backfill_in_key_ranges(request):
    first, last = Post.objects.order_by("pk").first().pk, Post.objects.order_by("pk").last().pk
    for start in range(first, last + 1, 2):
        rows = list(Post.objects.filter(pk__gte=start, pk__lt=start + 2))
        Post.objects.bulk_update(rows, ["title"])


@fine(KIND)
def idiom_command_that_reports(request):
    counts = {}
    for model in (Post, Author, Tag, Comment, Note, Job):
        counts[model.__name__] = model.objects.count()
    return counts


@fine(KIND)
def idiom_cache_of_each_model(request):
    cache.clear()
    return [
        cache.get_or_set(f"all-{model.__name__}", lambda model=model: list(model.objects.all()))
        for model in (Post, Author, Tag, Comment, Note, Job)
    ]


@fine(KIND)
def idiom_tabs_of_one_object(request):
    post = Post.objects.first()
    return [list(getattr(post, name).all()) for name in ("comments", "tags", "readers", "notes")]


@fine(KIND)
def idiom_filters_of_a_dashboard(request):
    days = Post.objects.filter(is_published=True)
    return [
        days.count(),
        days.filter(author=None).count(),
        days.filter(category=None).count(),
        days.exclude(author=None).exists(),
        days.order_by("-created").first(),
    ]


@fine(KIND)
def idiom_annotated_with_subqueries(request):
    newest = Comment.objects.filter(post=OuterRef("pk")).order_by("-pk")
    posts = Post.objects.annotate(
        newest=Subquery(newest.values("text")[:1]), has=Exists(newest), number=Count("tags", distinct=True)
    )
    return [(post.newest, post.has, post.number) for post in posts]


@fine(KIND)
def idiom_prefetch_of_prefetch(request):
    tracks = Prefetch("track_set", queryset=Track.objects.order_by("position"), to_attr="tracks")
    albums = Prefetch("albums", queryset=Album.objects.prefetch_related(tracks))
    return [
        [[track.position for track in album.tracks] for album in a.albums.all()]
        for a in Artist.objects.prefetch_related(albums)
    ]


@fine(KIND)
def idiom_soft_deleted_and_selected(request):
    return [track.album.artist.name for track in Track.objects.select_related("album__artist")]


@fine(KIND)
def idiom_template_with_regroup(request):
    source = (
        "{% regroup posts by author as by_author %}{% for each in by_author %}{{ each.grouper.name }}"
        "{% for post in each.list %}{{ post.title }}{% endfor %}{% endfor %}"
    )
    return rendered(source, posts=Post.objects.select_related("author").order_by("author"))


@fine(KIND)
def idiom_template_with_counts_prefetched(request):
    source = "{% for post in posts %}{{ post.comments.all|length }}{{ post.tags.all.0.name }}{% endfor %}"
    return rendered(source, posts=Post.objects.prefetch_related("comments", "tags"))


@fine(KIND)
def idiom_queue_of_batches(request):
    done = []
    while jobs := list(Job.objects.filter(state="new").order_by("pk")[:2]):
        Job.objects.filter(pk__in=[job.pk for job in jobs]).update(state="done")
        done += jobs
    return done


@fine(KIND)
def idiom_queue_by_claim(request):
    done = []
    while True:
        job = Job.objects.filter(state="new").first()
        if job is None or not Job.objects.filter(pk=job.pk, state="new").update(state="mine"):
            return done
        done.append(job)


@fine(KIND)
def idiom_delete_in_batches(request):
    while keys := list(Note.objects.order_by("pk").values_list("pk", flat=True)[:2]):
        Note.objects.filter(pk__in=keys).delete()


@fine(KIND)
def idiom_number_that_is_free(request):
    for number in itertools.count(1):
        if not Project.objects.filter(name=f"project {number}").exists():
            break
    return number


@fine(KIND)
def idiom_counter_with_f(request):
    post = Track.objects.first()
    for _ in range(6):
        Track.objects.filter(pk=post.pk).update(seconds=F("seconds") + 1)
        post.refresh_from_db()
    return post.seconds


@fine(KIND)
def idiom_lists_or_404(request):
    return get_list_or_404(Post.objects.select_related("author"), is_published=True), get_list_or_404(Author)


@fine(KIND)
def idiom_months_by_truncation(request):
    return list(Post.objects.values("created__month").annotate(number=Count("pk")))


@fine(KIND)
def idiom_set_of_names(request):
    taken = set(Author.objects.filter(name__in=["author 1", "x"]).values_list("name", flat=True))
    return [name for name in ("author 1", "x", "y") if name not in taken]


@fine(KIND)
def idiom_genres_of_all_albums(request):
    albums = list(Album.objects.all())
    between = Album.genres.through.objects.filter(album__in=albums)
    genres = Genre.live.in_bulk([each.genre_id for each in between])
    return [genres[each.genre_id].name for each in between]


@bad(KIND, "Track.album", "Album.artist")
def idiom_two_levels(request):
    return [track.album.artist.name for track in Track.objects.order_by("pk")]


@bad(KIND, "Artist.albums", "Album.track_set")
def idiom_two_levels_down(request):
    return [[list(album.track_set.all()) for album in artist.albums.all()] for artist in Artist.objects.all()]


@bad(KIND, "Author")
def idiom_import_that_looks_up_each(request):
    rows = [{"author": f"author {n}", "day": DAY} for n in range(6)]
    return [Author.objects.get(name=row["author"]) for row in rows]


@bad(KIND, "Job")
def idiom_check_of_each_row(request):
    return [row for row in ("job 1", "job 2", "x", "y", "z", "job 3") if Job.objects.filter(name=row).exists()]
