"""A relation's queryset that is another than `.all()`: a plain prefetch would make it one query more."""

from django.db.models import F, Max, Sum

from tests.detectors.corpus.case import bad, fine
from tests.detectors.corpus.models import Album, Author, Genre, Post

KIND = "querysets of a relation"


@bad(KIND, "Post.comments")
def related_values(request):
    return [list(post.comments.values("text")) for post in Post.objects.all()]


@bad(KIND, "Post.tags")
def related_values_list_of_many(request):
    return [list(post.tags.values_list("name", flat=True)) for post in Post.objects.all()]


@bad(KIND, "Post.comments")
def related_order_by(request):
    return [[each.text for each in post.comments.order_by("-pk")] for post in Post.objects.all()]


@bad(KIND, "Post.comments")
def related_only(request):
    return [[each.text for each in post.comments.only("text", "post")] for post in Post.objects.all()]


@bad(KIND, "Post.comments")
def related_defer(request):
    return [[each.is_spam for each in post.comments.defer("text")] for post in Post.objects.all()]


@bad(KIND, "Post.comments")
def related_annotate(request):
    return [[each.who for each in post.comments.annotate(who=F("author__name"))] for post in Post.objects.all()]


@bad(KIND, "Post.comments")
def related_select_related(request):
    return [[each.author.name for each in post.comments.select_related("author")] for post in Post.objects.all()]


@bad(KIND, "Author.posts")
def related_distinct(request):
    return [[post.title for post in author.posts.order_by("title").distinct()] for author in Author.objects.all()]


@bad(KIND, "Post.comments")
def related_exclude(request):
    return [[each.text for each in post.comments.exclude(text="?")] for post in Post.objects.all()]


@bad(KIND, "Post.comments")
def related_filter_exists(request):
    return [post.comments.filter(text="?").exists() for post in Post.objects.all()]


@bad(KIND, "Post.comments")
def related_filter_count(request):
    return [post.comments.filter(text="?", is_spam=False).count() for post in Post.objects.all()]


@bad(KIND, "Post.tags")
def related_count_of_many(request):
    return [post.tags.count() for post in Post.objects.all()]


@bad(KIND, "Post.tags")
def related_exists_of_many(request):
    return [post.tags.exists() for post in Post.objects.all()]


@bad(KIND, "Genre.albums")
def related_count_where_the_name_is_taken(request):
    return [genre.albums.count() for genre in Genre.live.all()]


@bad(KIND, "Author.comment_set")
def related_count_without_related_name(request):
    return [author.comment_set.count() for author in Author.objects.all()]


@bad(KIND, "Album.track_set")
def related_sum(request):
    return [album.track_set.aggregate(total=Sum("seconds"))["total"] for album in Album.objects.all()]


@bad(KIND, "Album.track_set")
def related_max_filtered(request):
    return [album.track_set.filter(seconds=60).aggregate(Max("position")) for album in Album.objects.all()]


@bad(KIND, "Album.track_set")
def related_last(request):
    return [album.track_set.order_by("position").last().position for album in Album.objects.all()]


@bad(KIND, "Album.track_set")
def related_earliest(request):
    return [album.track_set.earliest("position").position for album in Album.objects.all()]


@bad(KIND, "Album.track_set")
def related_get(request):
    return [album.track_set.get(position=1).seconds for album in Album.objects.all()]


@bad(KIND, "Album.track_set")
def related_first(request):
    return [album.track_set.first().position for album in Album.objects.all()]


@bad(KIND, "Album.track_set")
def related_slice(request):
    return [[track.position for track in album.track_set.order_by("-position")[:1]] for album in Album.objects.all()]


@bad(KIND, "Post.notes")
def related_generic_count(request):
    return [post.notes.count() for post in Post.objects.all()]


@bad(KIND, "Post.notes")
def related_generic_exists(request):
    return [post.notes.filter(text="note").exists() for post in Post.objects.all()]


@bad(KIND, "Post.notes")
def related_generic_ordered(request):
    return [[note.text for note in post.notes.order_by("text")] for post in Post.objects.all()]


@fine(KIND)
def related_values_of_a_prefetch(request):
    return [[each.text for each in post.comments.all()] for post in Post.objects.prefetch_related("comments")]


@fine(KIND)
def related_querysets_of_one_object(request):
    comments = Post.objects.first().comments
    return [
        list(comments.values("text")),
        list(comments.order_by("text")),
        list(comments.only("text", "post")),
        comments.filter(text="?").exists(),
        comments.count(),
        comments.first(),
    ]
