"""Pages, chunks and batches."""

from django.core.paginator import Paginator

from tests.detectors.corpus.case import bad, fine
from tests.detectors.corpus.models import Author, Post

KIND = "pages and batches"


def batches(values, size):
    return [values[start : start + size] for start in range(0, len(values), size)]


@bad(KIND, "Post.author")
def page_with_foreign_key(request):
    page = Paginator(Post.objects.order_by("pk"), 6).get_page(1)
    return [post.author.name for post in page]


@bad(KIND, "Post.author")
def batch_with_foreign_key(request):
    found = []
    for ids in batches(list(Post.objects.values_list("pk", flat=True)), 3):
        for post in Post.objects.filter(pk__in=ids):
            found.append(post.author.name)
    return found


@fine(KIND)
def page_selected(request):
    page = Paginator(Post.objects.select_related("author").order_by("pk"), 3).get_page(2)
    return page.has_next(), [post.author.name for post in page]


@fine(KIND)
def page_after_page(request):
    paginator = Paginator(Post.objects.order_by("pk"), 2)
    return [[post.title for post in paginator.page(number)] for number in paginator.page_range]


@fine(KIND)
def batch_by_batch(request):
    ids = list(Post.objects.values_list("pk", flat=True))
    return [list(Post.objects.filter(pk__in=batch)) for batch in batches(ids, 2)]


@fine(KIND)
def batch_by_in_bulk(request):
    ids = list(Author.objects.values_list("pk", flat=True))
    found = {}
    for batch in batches(ids, 2):
        found.update(Author.objects.in_bulk(batch))
    return found


@fine(KIND)
def batch_by_slices(request):
    posts = Post.objects.order_by("pk")
    return [list(posts[start : start + 2]) for start in range(0, 6, 2)]


@fine(KIND)
def batch_by_iterator(request):
    return [post.title for post in Post.objects.iterator(chunk_size=2)]
