"""Serializers of Django's own, generic views, streamed responses, permissions, and traps of well-meant code."""

import csv
import io

from django.contrib.auth.models import Group, User
from django.core import serializers
from django.db.models import Prefetch
from django.forms.models import model_to_dict
from django.http import StreamingHttpResponse
from django.shortcuts import get_object_or_404
from django.views.generic import DetailView, ListView

from tests.detectors.corpus.case import bad, fine
from tests.detectors.corpus.cases.templates import rendered
from tests.detectors.corpus.models import Author, Comment, Note, Post, Tag

SHORTCUT, TRAP, PERMISSION = "Django's shortcuts", "well meant", "users, permissions"


class PostListView(ListView):
    model = Post
    template_name = "corpus/list.html"
    context_object_name = "posts"


class SelectedListView(PostListView):
    queryset = Post.objects.select_related("author")


class PostDetailView(DetailView):
    model = Post
    template_name = "corpus/card.html"

    def get_context_data(self, **kwargs):
        return super().get_context_data(again=self.get_object(), **kwargs)


@bad(SHORTCUT, "Post.author")
def shortcut_list_view(request):
    return PostListView.as_view()(request)


@fine(SHORTCUT)
def shortcut_list_view_selected(request):
    return SelectedListView.as_view()(request)


@fine(SHORTCUT)
def shortcut_detail_view(request):
    return PostDetailView.as_view()(request, pk=Post.objects.first().pk)


@bad(SHORTCUT, "Post.tags")
def shortcut_serialize(request):
    return serializers.serialize("json", Post.objects.all())


@fine(SHORTCUT)
def shortcut_serialize_prefetched(request):
    return serializers.serialize("json", Post.objects.prefetch_related("tags"))


@bad(SHORTCUT, "Post.tags", "Post.readers")
def shortcut_model_to_dict(request):
    return [model_to_dict(post) for post in Post.objects.all()]


@bad(SHORTCUT, "Post")
def shortcut_next_and_previous(request):
    found = []
    for post in Post.objects.order_by("created")[1:]:
        found.append(post.get_previous_by_created())
    return found


@bad(SHORTCUT, "Post.author")
def shortcut_streamed(request):
    def lines():
        for post in Post.objects.iterator():
            yield f"{post.title},{post.author.name}\n"

    return StreamingHttpResponse(lines())


@fine(SHORTCUT)
def shortcut_streamed_selected(request):
    return StreamingHttpResponse(post.author.name for post in Post.objects.select_related("author").iterator())


@bad(SHORTCUT, "Post.author", "Author.country")
def shortcut_csv(request):
    out = csv.writer(io.StringIO())
    for post in Post.objects.order_by("-created"):
        out.writerow([post.pk, post.title, post.author.name, post.author.country])


@fine(SHORTCUT)
def shortcut_two_404s(request):
    pk = Post.objects.first().pk
    return get_object_or_404(Post, pk=pk), get_object_or_404(Author, pk=get_object_or_404(Post, pk=pk).author_id)


def users(count=6):
    made = [User.objects.create(username=f"user {n}") for n in range(count)]
    group = Group.objects.create(name="all")
    for user in made:
        user.groups.add(group)
    return User.objects.filter(pk__in=[user.pk for user in made])


@bad(PERMISSION, "User.groups")
def permission_groups_of_each(request):
    return [[group.name for group in user.groups.all()] for user in users()]


@bad(PERMISSION, "Permission", "User.user_permissions")
def permission_has_perm_of_each(request):
    return [user.has_perm("corpus.add_post") for user in users()]


@fine(PERMISSION)
def permission_of_one_user(request):
    user = users().first()
    return [user.has_perm(f"corpus.{verb}_post") for verb in ("add", "change", "delete", "view")]


@fine(PERMISSION, is_staff=True)
def permission_of_the_request(request):
    user = request.user
    return user.is_staff, user.has_perm("x"), user.get_all_permissions(), list(user.groups.all())


@fine(PERMISSION)
def permission_groups_prefetched(request):
    return [[group.name for group in user.groups.all()] for user in users().prefetch_related("groups")]


@bad(TRAP, "Comment.post")
def trap_only_without_the_key_of_a_prefetch(request):
    texts = Prefetch("comments", queryset=Comment.objects.only("text"))
    return [len(post.comments.all()) for post in Post.objects.prefetch_related(texts)]


@bad(TRAP, "Post.comments")
def trap_iterator_of_a_prefetch(request):
    return [[each.text for each in post.comments.iterator()] for post in Post.objects.prefetch_related("comments")]


@fine(TRAP)
def trap_slice_of_a_prefetch(request):
    return [[each.text for each in post.comments.all()[:1]] for post in Post.objects.prefetch_related("comments")]


@bad(TRAP, "Post.comments")
def trap_truth_then_loop(request):
    found = []
    for post in Post.objects.all():
        if post.comments.all():
            found += [comment.text for comment in post.comments.all()]
    return found


@bad(TRAP, "Post.readers")
def trap_membership(request):
    author = Author.objects.first()
    return [author in post.readers.all() for post in Post.objects.all()]


@bad(TRAP, "Post.readers")
def trap_contains(request):
    author = Author.objects.first()
    return [post.readers.contains(author) for post in Post.objects.all()]


@bad(TRAP, "Post.readers")
def trap_membership_in_template(request):
    source = "{% for post in posts %}{% if author in post.readers.all %}read{% endif %}{% endfor %}"
    return rendered(source, posts=Post.objects.all(), author=Author.objects.first())


@bad(TRAP, "Author.posts")
def trap_nested_template_loops(request):
    source = "{% for author in authors %}{% for post in author.posts.all %}{{ post.title }}{% endfor %}{% endfor %}"
    return rendered(source, authors=Author.objects.all())


@bad(TRAP, "Post.comments")
def trap_sorted_by_count(request):
    return sorted(Post.objects.all(), key=lambda post: (post.comments.count(), post.title))


@bad(TRAP, "Post")
def trap_exists_for_each_tag(request):
    return [tag.name for tag in Tag.objects.all() if Post.objects.filter(tags=tag).exists()]


@bad(TRAP, "Author")
def trap_get_for_values(request):
    return [Author.objects.get(pk=row["author_id"]) for row in Post.objects.values("author_id")]


@bad(TRAP, "Note.subject")
def trap_generic_keys_to_two_models(request):
    notes = list(Note.objects.all())
    for note, author in zip(notes, Author.objects.all(), strict=True):
        if note.pk % 2:
            note.subject = author
            note.save()
    return [str(note.subject) for note in Note.objects.all()]


@bad(TRAP, "Post.author")
def trap_list_evaluated_twice(request):
    posts = Post.objects.filter(is_published=True)
    first = {post.author.name for post in posts.all()}
    return first, [post.author.name for post in posts.all()]


@bad(TRAP, "Author", at_five=False)
def trap_two_names(request):
    return [Author.objects.get(name=name) for name in ("author 1", "author 2")]


@bad(TRAP, "Author.posts")
def trap_len_of_each(request):
    return {author.name: len(author.posts.all()) for author in Author.objects.all()}


@fine(TRAP)
def trap_counts_of_relations_of_one_object(request):
    author = Author.objects.first()
    return [getattr(author, name).count() for name in ("posts", "edited", "comment_set", "read_posts")]


@fine(TRAP)
def trap_same_get_in_a_loop(request):
    pk = Author.objects.first().pk
    return [Author.objects.get(pk=pk) for _ in range(6)]
