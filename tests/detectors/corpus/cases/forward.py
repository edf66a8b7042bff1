"""Foreign keys, from the object that has them."""

from tests.detectors.corpus.case import bad, fine
from tests.detectors.corpus.models import Author, Comment, Post, Price, Reading

KIND = "forward foreign key"


@bad(KIND, "Post.author")
def forward_in_loop(request):
    return [post.author.name for post in Post.objects.all()]


@bad(KIND, "Post.author")
def forward_same_author_everywhere(request):
    author = Author.objects.first()
    Post.objects.update(author=author)
    return [post.author.name for post in Post.objects.all()]


@bad(KIND, "Post.author", rows=3, at_five=False)
def forward_of_three(request):
    return [post.author.name for post in Post.objects.all()]


@bad(KIND, "Post.author")
def forward_after_iterator(request):
    return [post.author.name for post in Post.objects.iterator()]


@bad(KIND, "Author.country")
def forward_two_levels(request):
    return [post.author.country.name for post in Post.objects.select_related("author")]


@bad(KIND, "Post.author", "Author.country")
def forward_both_levels(request):
    return [post.author.country.name for post in Post.objects.all()]


@bad(KIND, "Post.editor")
def forward_other_relation_selected(request):
    return [post.editor.name for post in Post.objects.select_related("author")]


@bad(KIND, "Post.author", "Post.editor")
def forward_two_keys_to_one_model(request):
    return [(post.author.name, post.editor.name) for post in Post.objects.all()]


@bad(KIND, "Post.author")
def forward_only_where_published(request):
    found = []
    for post in Post.objects.all():
        if post.is_published:
            found.append(post.author.name)
    return found


@bad(KIND, "Comment.post")
def forward_from_a_slice(request):
    return [comment.post.title for comment in Comment.objects.order_by("id")[:6]]


@bad(KIND, "Post.author")
def forward_in_filter_of_another(request):
    names = set()
    for post in Post.objects.exclude(is_published=False).order_by("created"):
        names.add(post.author.name.upper())
    return names


@bad(KIND, "Reading.reader")
def forward_of_through_model(request):
    return [reading.reader.name for reading in Reading.objects.all()]


@bad(KIND, "Price.post")
def forward_to_str(request):
    return ", ".join(str(price.post) for price in Price.objects.all())


@fine(KIND)
def forward_selected(request):
    return [post.author.name for post in Post.objects.select_related("author")]


@fine(KIND)
def forward_selected_two_levels(request):
    return [post.author.country.name for post in Post.objects.select_related("author__country")]


@fine(KIND)
def forward_prefetched(request):
    return [post.author.name for post in Post.objects.prefetch_related("author")]


@fine(KIND)
def forward_key_only(request):
    return [post.author_id for post in Post.objects.all()]


@fine(KIND)
def forward_of_one_object(request):
    post = Post.objects.get(pk=Post.objects.first().pk)
    return post.author.name, post.author.bio, post.editor.name


@fine(KIND)
def forward_two_keys_of_one_object(request):
    post = Post.objects.first()
    return [getattr(post, name).name for name in ("author", "editor")]


@fine(KIND)
def forward_from_different_lines(request):
    first, second, third = Post.objects.all()[:3]
    one = first.author.name
    two = second.author.name
    return one, two, third.author.name


@fine(KIND)
def forward_values(request):
    return list(Post.objects.values_list("title", "author__name"))


@fine(KIND)
def forward_of_no_rows(request):
    return [post.author.name for post in Post.objects.filter(title="none")]


@fine(KIND)
def forward_of_one_row(request):
    return [post.author.name for post in Post.objects.filter(title="post 1")]


@fine(KIND)
def forward_null(request):
    Post.objects.update(category=None)
    return [post.category for post in Post.objects.all()]


@fine(KIND)
def forward_known_from_reverse(request):
    author = Author.objects.first()
    return [post.author.name for post in author.posts.all()]


@fine(KIND)
def forward_same_line_other_models(request):
    return [model.objects.first().pk for model in (Author, Comment, Post, Price)]
