"""Queries of one row, or of some, inside a loop; raw SQL; what has to be asked again."""

import datetime

from django.core.cache import cache
from django.core.exceptions import ObjectDoesNotExist
from django.db import connection
from django.shortcuts import get_object_or_404

from tests.detectors.corpus.case import bad, fine
from tests.detectors.corpus.models import Author, Comment, Country, Job, Post, Price, Translation
from tests.detectors.corpus.rows import DAY

GET, FILTER, RAW, AGAIN = "get in a loop", "filter in a loop", "raw SQL", "has to ask again"


@bad(GET, "Author")
def get_by_key(request):
    return [Author.objects.get(pk=post.author_id).name for post in Post.objects.all()]


@bad(GET, "Country")
def get_by_unique_field(request):
    return [Country.objects.get(code=f"c{n}") for n in range(6)]


@bad(GET, "Post")
def get_or_404_of_submitted_ids(request):
    ids = list(Post.objects.values_list("pk", flat=True))
    return [get_object_or_404(Post, pk=pk) for pk in ids]


@bad(GET, "Author")
def get_that_may_miss(request):
    found = []
    for name in ("author 1", "nobody", "author 2", "no one", "author 3", "author 4"):
        try:
            found.append(Author.objects.get(name=name))
        except Author.DoesNotExist:
            continue
    return found


@bad(GET, "Post")
def get_by_manager_method(request):
    return [Post.objects.by_title(f"post {n}") for n in range(6)]


@bad(GET, "Translation")
def get_through_a_function(request):
    def translated(key):
        return Translation.objects.get(key=key).text

    return [translated(f"key {n}") for n in range(6)]


@bad(GET, "Post")
def refresh_each(request):
    posts = list(Post.objects.all())
    for post in posts:
        post.refresh_from_db()
    return posts


@bad(GET, "Author")
def get_some_twice(request):
    authors = list(Author.objects.values_list("pk", flat=True))
    return [Author.objects.get(pk=pk) for pk in [authors[0]] * 2 + authors]


@bad(GET, "Post")
def get_and_save(request):
    for pk in list(Post.objects.values_list("pk", flat=True)):
        post = Post.objects.get(pk=pk)
        post.title = post.title.upper()
        post.save()


@bad(GET, "Post")
def get_by_position(request):
    posts = Post.objects.order_by("pk")
    return [posts[n].title for n in range(posts.count())]


@fine(GET)
def get_in_bulk(request):
    authors = Author.objects.in_bulk([post.author_id for post in Post.objects.all()])
    return [authors[post.author_id].name for post in Post.objects.all()]


@fine(GET)
def get_from_three_lines(request):
    one = Country.objects.get(code="c0")
    two = Country.objects.get(code="c1")
    return one, two, Country.objects.get(code="c2")


@fine(GET)
def get_from_a_dictionary(request):
    by_key = {each.key: each.text for each in Translation.objects.all()}
    return [by_key[f"key {n}"] for n in range(6)]


@fine(GET)
def get_with_a_cache(request):
    cache.clear()
    first = Country.objects.first().pk

    def country(pk):
        return cache.get_or_set(f"country-{pk}", lambda: Country.objects.get(pk=pk))

    return [country(first) for _ in range(6)]


@bad(FILTER, "Post")
def filter_in_loop(request):
    return [list(Post.objects.filter(author=author)) for author in Author.objects.all()]


@bad(FILTER, "Post")
def filter_first_in_loop(request):
    return [Post.objects.latest_of(author) for author in Author.objects.all()]


@bad(FILTER, "Post")
def filter_values_in_loop(request):
    return [list(Post.objects.filter(author=author).values("title")) for author in Author.objects.all()]


@bad(FILTER, "Price")
def filter_price_of_the_day(request):
    found = []
    for post in Post.objects.all():
        found.append(Price.objects.filter(post=post, day__lte=DAY.date()).order_by("-day").first())
    return found


@bad(FILTER, "Comment")
def filter_across_a_relation(request):
    return [list(Comment.objects.filter(post__author=author)) for author in Author.objects.all()]


@bad(FILTER, "Post")
def filter_month_by_month(request):
    days = [DAY + datetime.timedelta(days=n) for n in range(6)]
    return [Post.objects.filter(created__gte=day, created__lt=day + datetime.timedelta(days=1)).count() for day in days]


@fine(FILTER)
def filter_once_with_in(request):
    return list(Post.objects.filter(author__in=Author.objects.all()))


@fine(FILTER)
def filter_different_queries(request):
    queries = (
        Post.objects.filter(is_published=True),
        Post.objects.filter(title="post 1"),
        Post.objects.filter(created__gt=DAY),
        Post.objects.exclude(title="x"),
    )
    return [list(queryset) for queryset in queries]


@bad(RAW, "corpus_comment")
def raw_cursor_in_loop(request):
    found = []
    with connection.cursor() as cursor:
        for post in Post.objects.all():
            cursor.execute("SELECT count(*) FROM corpus_comment WHERE post_id = %s", [post.pk])
            found.append(cursor.fetchone()[0])
    return found


@bad(RAW, "corpus_author")
def raw_with_the_value_in_the_text(request):
    found = []
    for post in Post.objects.all():
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT name FROM corpus_author WHERE id = {int(post.author_id)}")
            found.append(cursor.fetchone()[0])
    return found


@bad(RAW, "Comment")
def raw_queryset_in_loop(request):
    sql = "SELECT * FROM corpus_comment WHERE post_id = %s"
    return [[each.text for each in Comment.objects.raw(sql, [post.pk])] for post in Post.objects.all()]


@bad(RAW, "Post.body")
def raw_queryset_with_missing_columns(request):
    return [post.body for post in Post.objects.raw("SELECT id, title FROM corpus_post")]


@fine(RAW)
def raw_join(request):
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT p.title, count(*) FROM corpus_post p JOIN corpus_comment c ON c.post_id = p.id GROUP BY 1"
        )
        return cursor.fetchall()


@fine(RAW)
def raw_pages_by_key(request):
    last, found = 0, []
    with connection.cursor() as cursor:
        while True:
            cursor.execute("SELECT id, title FROM corpus_post WHERE id > %s ORDER BY id LIMIT 2", [last])
            rows = cursor.fetchall()
            if not rows:
                return found
            found += rows
            last = rows[-1][0]


@fine(AGAIN)
def again_pages_by_key(request):
    last, found = 0, []
    while batch := list(Post.objects.filter(pk__gt=last).order_by("pk")[:2]):
        found += batch
        last = batch[-1].pk
    return found


@fine(AGAIN)
def again_queue(request):
    done = []
    while job := Job.objects.filter(state="new").order_by("pk").first():
        job.state = "done"
        job.save(update_fields=["state"])
        done.append(job.name)
    return done


@fine(AGAIN)
def again_queue_by_time(request):
    done = []
    while job := Job.objects.filter(due__lte=datetime.datetime.now(datetime.timezone.utc)).order_by("due").first():
        done.append(job.name)
        Job.objects.filter(pk=job.pk).delete()
    return done


@fine(AGAIN)
def again_locked_rows(request):
    names = []
    for pk in list(Job.objects.values_list("pk", flat=True)):
        job = Job.objects.select_for_update().get(pk=pk)
        names.append(job.name)
    return names


@fine(AGAIN)
def again_retry(request):
    for _ in range(6):
        try:
            return Author.objects.get(name="somebody")
        except ObjectDoesNotExist:
            continue
    return None


@fine(AGAIN)
def again_polling(request):
    import time

    for n in range(6):
        if Job.objects.filter(state="done", name=f"job {n % 2}").exists():
            break
        time.sleep(0)


@fine(AGAIN)
def again_same_query(request):
    return [Post.objects.filter(is_published=True).count() for _ in range(6)]
