from django.contrib import admin

from tests.detectors.corpus.models import Author, Comment, Post, Tag

site = admin.AdminSite("corpus")


class PostAdmin(admin.ModelAdmin):
    list_display = ("title", "written_by")

    def written_by(self, post):
        return post.author.name


class CommentAdmin(admin.ModelAdmin):
    """Its __str__ reads the author."""


class AuthorAdmin(admin.ModelAdmin):
    list_display = ("name", "country")


class TagAdmin(admin.ModelAdmin):
    list_display = ("name", "used")

    def used(self, tag):
        return tag.posts.count()


site.register(Post, PostAdmin)
site.register(Comment, CommentAdmin)
site.register(Author, AuthorAdmin)
site.register(Tag, TagAdmin)
