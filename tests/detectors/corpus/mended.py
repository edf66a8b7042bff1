"""Cases of the corpus with the fix of their finding pasted in; see test_fixes_paste.py."""

from django.db.models import Count, Exists, F, Max, OuterRef, Prefetch, Q, Sum

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
    Post,
    Project,
    Tag,
    Ticket,
    Track,
    Translation,
)

MENDED = {}


def mends(function):
    MENDED[function.__name__] = function
    return function


@mends
def related_values(request):
    return [[{"text": each.text} for each in post.comments.all()] for post in Post.objects.prefetch_related("comments")]


@mends
def related_values_list_of_many(request):
    return [[tag.name for tag in post.tags.all()] for post in Post.objects.prefetch_related("tags")]


@mends
def related_order_by(request):
    posts = Post.objects.prefetch_related(
        Prefetch("comments", queryset=Comment.objects.order_by("-pk"), to_attr="loaded_comments")
    )
    return [[each.text for each in post.loaded_comments] for post in posts]


@mends
def related_only(request):
    posts = Post.objects.prefetch_related(
        Prefetch("comments", queryset=Comment.objects.only("post", "text"), to_attr="loaded_comments")
    )
    return [[each.text for each in post.loaded_comments] for post in posts]


@mends
def related_defer(request):
    posts = Post.objects.prefetch_related(
        Prefetch("comments", queryset=Comment.objects.defer("text"), to_attr="loaded_comments")
    )
    return [[each.is_spam for each in post.loaded_comments] for post in posts]


@mends
def related_annotate(request):
    posts = Post.objects.prefetch_related(
        Prefetch("comments", queryset=Comment.objects.annotate(who=F("author__name")), to_attr="loaded_comments")
    )
    return [[each.who for each in post.loaded_comments] for post in posts]


@mends
def related_select_related(request):
    posts = Post.objects.prefetch_related(
        Prefetch("comments", queryset=Comment.objects.select_related("author"), to_attr="loaded_comments")
    )
    return [[each.author.name for each in post.loaded_comments] for post in posts]


@mends
def related_distinct(request):
    authors = Author.objects.prefetch_related(
        Prefetch("posts", queryset=Post.objects.order_by("title").distinct(), to_attr="loaded_posts")
    )
    return [[post.title for post in author.loaded_posts] for author in authors]


@mends
def related_filter_exists(request):
    posts = Post.objects.annotate(has_comments=Exists(Comment.objects.filter(post=OuterRef("pk"), text="?")))
    return [post.has_comments for post in posts]


@mends
def related_filter_count(request):
    posts = Post.objects.annotate(
        comments_count=Count("comments", filter=Q(comments__is_spam=False, comments__text="?"), distinct=True)
    )
    return [post.comments_count for post in posts]


@mends
def related_count_of_many(request):
    return [post.tags_count for post in Post.objects.annotate(tags_count=Count("tags", distinct=True))]


@mends
def related_exists_of_many(request):
    return [post.has_tags for post in Post.objects.annotate(has_tags=Exists(Tag.objects.filter(posts=OuterRef("pk"))))]


@mends
def related_count_where_the_name_is_taken(request):
    genres = Genre.live.annotate(albums_count=Count("albums", filter=Q(albums__is_deleted=False), distinct=True))
    return [genre.albums_count for genre in genres]


@mends
def related_count_without_related_name(request):
    authors = Author.objects.annotate(comment_set_count=Count("comment", distinct=True))
    return [author.comment_set_count for author in authors]


@mends
def related_sum(request):
    return [album.track_set_sum for album in Album.objects.annotate(track_set_sum=Sum("track__seconds"))]


@mends
def related_max_filtered(request):
    albums = Album.objects.annotate(track_set_max=Max("track__position", filter=Q(track__seconds=60)))
    return [{"position__max": album.track_set_max} for album in albums]


@mends
def related_last(request):
    albums = Album.objects.prefetch_related(
        Prefetch("track_set", queryset=Track.objects.order_by("-position")[:1], to_attr="loaded_track_set")
    )
    return [album.loaded_track_set[0].position for album in albums]


@mends
def related_earliest(request):
    albums = Album.objects.prefetch_related(
        Prefetch("track_set", queryset=Track.objects.order_by("position")[:1], to_attr="loaded_track_set")
    )
    return [album.loaded_track_set[0].position for album in albums]


@mends
def related_first(request):
    albums = Album.objects.prefetch_related(
        Prefetch("track_set", queryset=Track.objects.order_by("pk")[:1], to_attr="loaded_track_set")
    )
    return [album.loaded_track_set[0].position for album in albums]


@mends
def related_get(request):
    albums = Album.objects.prefetch_related(
        Prefetch("track_set", queryset=Track.objects.filter(position=1), to_attr="loaded_track_set")
    )
    return [album.loaded_track_set[0].seconds for album in albums]


@mends
def related_slice(request):
    albums = Album.objects.prefetch_related(
        Prefetch("track_set", queryset=Track.objects.order_by("-position")[:1], to_attr="loaded_track_set")
    )
    return [[track.position for track in album.loaded_track_set] for album in albums]


@mends
def related_generic_count(request):
    return [post.notes_count for post in Post.objects.annotate(notes_count=Count("notes", distinct=True))]


@mends
def related_generic_exists(request):
    posts = Post.objects.annotate(notes_count=Count("notes", filter=Q(notes__text="note"), distinct=True))
    return [post.notes_count > 0 for post in posts]


@mends
def related_generic_ordered(request):
    posts = Post.objects.prefetch_related(
        Prefetch("notes", queryset=Note.objects.order_by("text"), to_attr="loaded_notes")
    )
    return [[note.text for note in post.loaded_notes] for post in posts]


@mends
def manager_reverse_filtered(request):
    artists = Artist.objects.prefetch_related(
        Prefetch("albums", queryset=Album.objects.filter(title="album 1"), to_attr="loaded_albums")
    )
    return [[album.title for album in artist.loaded_albums] for artist in artists]


@mends
def manager_reverse_counted(request):
    artists = Artist.objects.annotate(
        the_albums_count=Count("albums", filter=Q(albums__is_deleted=False), distinct=True)
    )
    return [artist.the_albums_count for artist in artists]


@mends
def manager_reverse_asked_for(request):
    artists = Artist.objects.annotate(has_albums=Exists(Album.objects.filter(artist=OuterRef("pk"))))
    return [artist.has_albums for artist in artists]


@mends
def manager_first_of_ordered(request):
    projects = Project.objects.prefetch_related(
        Prefetch("tickets", queryset=Ticket.objects.all()[:1], to_attr="loaded_tickets")
    )
    return [project.loaded_tickets[0].name for project in projects]


@mends
def manager_get(request):
    found = Artist.objects.in_bulk([album.artist_id for album in Album.objects.all()])
    return [found[album.artist_id].name for album in Album.objects.all()]


@mends
def manager_counted_by_filter(request):
    projects = list(Project.objects.all())
    counts = Ticket.objects.filter(project__in=projects).values("project").annotate(number=Count("pk"))
    numbers = {row["project"]: row["number"] for row in counts}
    return [numbers.get(project.pk, 0) for project in projects]


@mends
def keys_of_each_object(request):
    albums = list(Album.objects.all())
    found = Album.objects.in_bulk([pk for album in albums for pk in album.similar_ids])
    return [[found[pk] for pk in album.similar_ids] for album in albums]


@mends
def names_that_exist(request):
    names = ("author 1", "a", "author 2", "b", "c", "d")
    there = set(Author.objects.filter(name__in=names).values_list("name", flat=True))
    return [name for name in names if name in there]


@mends
def get_by_key(request):
    posts = list(Post.objects.all())
    found = Author.objects.in_bulk([post.author_id for post in posts])
    return [found[post.author_id].name for post in posts]


@mends
def get_by_unique_field(request):
    found = Country.objects.in_bulk([f"c{n}" for n in range(6)], field_name="code")
    return [found[f"c{n}"] for n in range(6)]


@mends
def get_through_a_function(request):
    found = Translation.objects.in_bulk([f"key {n}" for n in range(6)], field_name="key")
    return [found[f"key {n}"].text for n in range(6)]


@mends
def get_by_manager_method(request):
    found = {post.title: post for post in Post.objects.filter(title__in=[f"post {n}" for n in range(6)])}
    return [found[f"post {n}"] for n in range(6)]


@mends
def filter_in_loop(request):
    authors, found = list(Author.objects.all()), {}
    for post in Post.objects.filter(author__in=authors):
        found.setdefault(post.author_id, []).append(post)
    return [found.get(author.pk, []) for author in authors]


@mends
def count_by_filter(request):
    keys = list(Author.objects.values_list("pk", flat=True))
    counts = Comment.objects.filter(author__in=keys).values("author").annotate(number=Count("pk"))
    numbers = {row["author"]: row["number"] for row in counts}
    return [numbers.get(pk, 0) for pk in keys]


@mends
def trap_exists_for_each_tag(request):
    tags = list(Tag.objects.all())
    there = set(Post.objects.filter(tags__in=tags).values_list("tags", flat=True))
    return [tag.name for tag in tags if tag.pk in there]


@mends
def idiom_check_of_each_row(request):
    names = ("job 1", "job 2", "x", "y", "z", "job 3")
    there = set(Job.objects.filter(name__in=names).values_list("name", flat=True))
    return [name for name in names if name in there]


@mends
def tree_walk_down(request):
    children = {}
    for each in Category.objects.all():
        children.setdefault(each.parent_id, []).append(each)

    def walk(node):
        return {child.name: walk(child) for child in children.get(node.pk, [])}

    return walk(Category.objects.get(parent=None))


@mends
def tree_recursive_method(request):
    found = {each.pk: each for each in Category.objects.all()}
    node = Category.objects.last()
    names = []
    while node is not None:
        names.insert(0, node.name)
        node = found.get(node.parent_id)
    return " / ".join(names)
