from django import template

register = template.Library()


@register.filter
def comment_texts(post):
    return ", ".join(comment.text for comment in post.comments.all())


@register.filter
def author_name(post):
    return post.author.name


@register.simple_tag
def comment_count(post):
    return post.comments.count()


@register.inclusion_tag("corpus/card.html")
def card(post):
    return {"post": post}
