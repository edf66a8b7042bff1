"""Queries of templates."""

from django.shortcuts import render
from django.template import engines
from django.template.loader import render_to_string
from django.template.response import TemplateResponse

from tests.detectors.corpus.case import bad, fine
from tests.detectors.corpus.models import Author, Post

KIND = "template"


def rendered(source, **context):
    return engines["django"].from_string("{% load corpus %}" + source).render(context)


@bad(KIND, "Post.author")
def template_for(request):
    return render(request, "corpus/list.html", {"posts": Post.objects.all()})


@bad(KIND, "Post.author")
def template_response(request):
    return TemplateResponse(request, "corpus/list.html", {"posts": Post.objects.all()})


@bad(KIND, "Post.author")
def template_include(request):
    return render(request, "corpus/included.html", {"posts": Post.objects.all()})


@bad(KIND, "Post.author")
def template_inclusion_tag(request):
    return rendered("{% for post in posts %}{% card post %}{% endfor %}", posts=Post.objects.all())


@bad(KIND, "Post.comments")
def template_filter(request):
    return rendered("{% for post in posts %}{{ post|comment_texts }}{% endfor %}", posts=Post.objects.all())


@bad(KIND, "Post.author")
def template_filter_with_foreign_key(request):
    return rendered("{% for post in posts %}{{ post|author_name }}{% endfor %}", posts=Post.objects.all())


@bad(KIND, "Post.comments")
def template_simple_tag(request):
    return rendered("{% for post in posts %}{% comment_count post %}{% endfor %}", posts=Post.objects.all())


@bad(KIND, "Post.comments")
def template_count(request):
    return rendered("{% for post in posts %}{{ post.comments.count }}{% endfor %}", posts=Post.objects.all())


@bad(KIND, "Post.comments")
def template_if(request):
    source = "{% for post in posts %}{% if post.comments.exists %}!{% endif %}{% endfor %}"
    return rendered(source, posts=Post.objects.all())


@bad(KIND, "Post.tags")
def template_nested_for(request):
    source = "{% for post in posts %}{% for tag in post.tags.all %}{{ tag.name }}{% endfor %}{% endfor %}"
    return rendered(source, posts=Post.objects.all())


@bad(KIND, "Post.author")
def template_regroup(request):
    source = "{% regroup posts by author.name as groups %}{% for group in groups %}{{ group.grouper }}{% endfor %}"
    return rendered(source, posts=Post.objects.all())


@bad(KIND, "Post.author")
def template_with(request):
    source = "{% for post in posts %}{% with post.author as author %}{{ author.name }}{% endwith %}{% endfor %}"
    return rendered(source, posts=Post.objects.all())


@bad(KIND, "Post.author")
def template_method(request):
    return rendered("{% for post in posts %}{{ post.byline }}{% endfor %}", posts=Post.objects.all())


@bad(KIND, "Post.author")
def template_rendered_for_each(request):
    return [render_to_string("corpus/card.html", {"post": post}) for post in Post.objects.all()]


@bad(KIND, "Post.author")
def jinja_for(request):
    template = engines["jinja2"].from_string("{% for post in posts %}{{ post.author.name }}{% endfor %}")
    return template.render({"posts": Post.objects.all()})


@fine(KIND)
def template_selected(request):
    return render(request, "corpus/list.html", {"posts": Post.objects.select_related("author")})


@fine(KIND)
def template_prefetched(request):
    tags = "{% for tag in post.tags.all %}{{ tag }}{% endfor %}"
    source = "{% for post in posts %}{{ post.comments.count }}" + tags + "{% endfor %}"
    return rendered(source, posts=Post.objects.prefetch_related("comments", "tags"))


@fine(KIND)
def template_two_keys_of_one_object(request):
    return rendered("{{ post.author.name }}{{ post.editor.name }}{{ post.author.bio }}", post=Post.objects.first())


@fine(KIND)
def template_two_objects_on_one_line(request):
    one, two = Post.objects.all()[:2]
    return rendered("{{ one.comments.count }}{{ two.comments.count }}", one=one, two=two)


@fine(KIND)
def template_two_includes(request):
    one, two, *_ = Post.objects.all()
    source = '{% include "corpus/card.html" with post=one %}{% include "corpus/card.html" with post=two %}'
    return rendered(source, one=one, two=two)


@fine(KIND)
def template_loop_of_one(request):
    return rendered("{% for post in posts %}{{ post.author.name }}{% endfor %}", posts=Post.objects.all()[:1])


@fine(KIND)
def template_same_list_twice(request):
    source = (
        "{% for each in authors.all %}{{ each.name }}{% endfor %}{% for each in authors.all %}{{ each }}{% endfor %}"
    )
    return rendered(source, authors=Author.objects)
