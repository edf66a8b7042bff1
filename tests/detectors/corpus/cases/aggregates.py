"""Counts, sums and existence, row by row."""

from django.db.models import Avg, Count, Exists, Max, OuterRef, Subquery, Sum

from tests.detectors.corpus.case import bad, fine
from tests.detectors.corpus.models import Author, Comment, Post, Price, Reading

KIND = "count, exists, aggregate"


@bad(KIND, "Post.comments")
def count_in_loop(request):
    return [post.comments.count() for post in Post.objects.all()]


@bad(KIND, "Post.tags")
def count_of_many(request):
    return {post.title: post.tags.count() for post in Post.objects.all()}


@bad(KIND, "Post.comments")
def exists_in_loop(request):
    return [post.title for post in Post.objects.all() if post.comments.exists()]


@bad(KIND, "Reading")
def exists_by_filter(request):
    reader = Author.objects.first()
    return [Reading.objects.filter(post=post, reader=reader).exists() for post in Post.objects.all()]


@bad(KIND, "Post.price_set")
def aggregate_in_loop(request):
    return [post.price_set.aggregate(total=Sum("amount"))["total"] for post in Post.objects.all()]


@bad(KIND, "Comment")
def count_by_filter(request):
    return [Comment.objects.filter(author_id=pk).count() for pk in Author.objects.values_list("pk", flat=True)]


@bad(KIND, "Post.comments")
def count_of_filtered_prefetch(request):
    return [post.comments.filter(is_spam=True).count() for post in Post.objects.prefetch_related("comments")]


@bad(KIND, "Author.posts")
def count_in_cached_property(request):
    return sorted(Author.objects.all(), key=lambda author: author.post_count)


@bad(KIND, "Price")
def aggregate_by_filter(request):
    return [Price.objects.filter(post=post).aggregate(Max("day"), Avg("amount")) for post in Post.objects.all()]


@fine(KIND)
def count_annotated(request):
    return [(post.n, post.m) for post in Post.objects.annotate(n=Count("comments"), m=Count("tags", distinct=True))]


@fine(KIND)
def exists_annotated(request):
    spam = Comment.objects.filter(post=OuterRef("pk"), is_spam=True)
    return [post.has_spam for post in Post.objects.annotate(has_spam=Exists(spam))]


@fine(KIND)
def subquery_annotated(request):
    newest = Comment.objects.filter(post=OuterRef("pk")).order_by("-id").values("text")[:1]
    return [post.newest for post in Post.objects.annotate(newest=Subquery(newest))]


@fine(KIND)
def counts_of_a_dashboard(request):
    return [model.objects.count() for model in (Author, Comment, Post, Price, Reading)]


@fine(KIND)
def counts_grouped(request):
    return dict(Comment.objects.values_list("post").annotate(Count("pk")))


@fine(KIND)
def counts_of_one_object(request):
    post = Post.objects.first()
    return post.comments.count(), post.tags.count(), post.readers.count(), post.comments.exists()
