"""Foreign keys, from the other side."""

from django.db.models import Count, Prefetch

from tests.detectors.corpus.case import bad, fine
from tests.detectors.corpus.models import Author, Category, Comment, Country, Post

KIND = "reverse foreign key"


@bad(KIND, "Post.comments")
def reverse_in_loop(request):
    return [[comment.text for comment in post.comments.all()] for post in Post.objects.all()]


@bad(KIND, "Author.comment_set")
def reverse_without_related_name(request):
    return [list(author.comment_set.all()) for author in Author.objects.all()]


@bad(KIND, "Post.comments")
def reverse_filtered(request):
    return [list(post.comments.filter(is_spam=False)) for post in Post.objects.all()]


@bad(KIND, "Post.comments")
def reverse_prefetched_then_filtered(request):
    return [list(post.comments.filter(is_spam=False)) for post in Post.objects.prefetch_related("comments")]


@bad(KIND, "Post.comments")
def reverse_prefetched_then_ordered(request):
    return [list(post.comments.order_by("text")) for post in Post.objects.prefetch_related("comments")]


@bad(KIND, "Post.comments")
def reverse_prefetched_then_first(request):
    return [post.comments.order_by("-id").first() for post in Post.objects.prefetch_related("comments")]


@bad(KIND, "Post.comments")
def reverse_values_list(request):
    return [list(post.comments.values_list("text", flat=True)) for post in Post.objects.all()]


@bad(KIND, "Post.comments")
def reverse_iterator_inside(request):
    return [[each.text for each in post.comments.iterator()] for post in Post.objects.iterator()]


@bad(KIND, "Post.comments", "Comment.author")
def reverse_and_forward_nested(request):
    return [[comment.author.name for comment in post.comments.all()] for post in Post.objects.all()]


@bad(KIND, "Author.posts", "Post.comments", "Country.author_set")
def reverse_three_deep(request):
    found = []
    for country in Country.objects.all():
        for author in country.author_set.all():
            for post in author.posts.all():
                found += post.comments.all()
    return found


@bad(KIND, "Author.posts")
def reverse_by_latest(request):
    return [author.posts.latest("created").title for author in Author.objects.all()]


@bad(KIND, "Author.posts")
def reverse_sliced(request):
    return [list(author.posts.order_by("-created")[:3]) for author in Author.objects.all()]


@bad(KIND, "Category.post_set")
def reverse_of_a_dictionary(request):
    return {category.name: list(category.post_set.all()) for category in Category.objects.all()}


@fine(KIND)
def reverse_prefetched(request):
    return [[comment.text for comment in post.comments.all()] for post in Post.objects.prefetch_related("comments")]


@fine(KIND)
def reverse_prefetched_to_attr(request):
    ham = Prefetch("comments", queryset=Comment.objects.filter(is_spam=False), to_attr="ham")
    return [[comment.text for comment in post.ham] for post in Post.objects.prefetch_related(ham)]


@fine(KIND)
def reverse_prefetched_and_selected(request):
    with_author = Prefetch("comments", queryset=Comment.objects.select_related("author"))
    return [[each.author.name for each in post.comments.all()] for post in Post.objects.prefetch_related(with_author)]


@fine(KIND)
def reverse_prefetched_two_levels(request):
    authors = Author.objects.prefetch_related("posts__comments")
    return [[list(post.comments.all()) for post in author.posts.all()] for author in authors]


@fine(KIND)
def reverse_prefetched_counted(request):
    return [post.comments.count() for post in Post.objects.prefetch_related("comments")]


@fine(KIND)
def reverse_prefetched_filtered_in_python(request):
    posts = Post.objects.prefetch_related("comments")
    return [[each for each in post.comments.all() if not each.is_spam] for post in posts]


@fine(KIND)
def reverse_annotated(request):
    return [post.total for post in Post.objects.annotate(total=Count("comments"))]


@fine(KIND)
def reverse_of_one_object(request):
    post = Post.objects.first()
    return [comment.text for comment in post.comments.all()]


@fine(KIND)
def reverse_twice_of_one_object(request):
    post = Post.objects.first()
    return list(post.comments.all()), list(post.comments.all())


@fine(KIND)
def reverse_different_relations_of_one_object(request):
    author = Author.objects.first()
    return list(author.posts.all()), list(author.edited.all()), list(author.comment_set.all())


@fine(KIND)
def reverse_grouped_in_python(request):
    by_post = {}
    for comment in Comment.objects.filter(post__in=Post.objects.all()):
        by_post.setdefault(comment.post_id, []).append(comment)
    return by_post
