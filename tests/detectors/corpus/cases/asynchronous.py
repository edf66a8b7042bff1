"""Async views, and the async methods of the ORM."""

import asyncio

from asgiref.sync import sync_to_async

from tests.detectors.corpus.case import bad, fine
from tests.detectors.corpus.models import Author, Post

KIND = "async"


@bad(KIND, "Post.comments")
async def async_count(request):
    return [await post.comments.acount() async for post in Post.objects.all()]


@bad(KIND, "Author")
async def async_get(request):
    return [(await Author.objects.aget(pk=post.author_id)).name async for post in Post.objects.all()]


@bad(KIND, "Post.tags")
async def async_for_inside(request):
    found = []
    async for post in Post.objects.all():
        async for tag in post.tags.all():
            found.append(tag.name)
    return found


@bad(KIND, "Post.author")
async def async_through_sync_to_async(request):
    def author_of(post):
        return post.author.name

    return [await sync_to_async(author_of)(post) async for post in Post.objects.all()]


@bad(KIND, "Post.comments")
async def async_first_in_helper(request):
    async def newest(post):
        return await post.comments.order_by("-id").afirst()

    return [await newest(post) async for post in Post.objects.all()]


@bad(KIND, "Author")
async def async_gather(request):
    async def name_of(pk):
        return (await Author.objects.aget(pk=pk)).name

    ids = [pk async for pk in Author.objects.values_list("pk", flat=True)]
    return await asyncio.gather(*[name_of(pk) for pk in ids])


@fine(KIND)
async def async_selected(request):
    return [post.author.name async for post in Post.objects.select_related("author")]


@fine(KIND)
async def async_prefetched(request):
    return [[tag.name for tag in post.tags.all()] async for post in Post.objects.prefetch_related("tags")]


@fine(KIND)
async def async_different_lines(request):
    first = await Author.objects.aget(name="author 1")
    second = await Author.objects.aget(name="author 2")
    third = await Author.objects.aget(name="author 3")
    return first, second, third


@fine(KIND)
async def async_gathered_different_queries(request):
    return await asyncio.gather(
        Post.objects.acount(), Author.objects.acount(), Post.objects.filter(title="x").aexists()
    )


@fine(KIND, since=(5, 0))
async def async_chunks(request):
    return [post.pk async for post in Post.objects.prefetch_related("tags").aiterator(chunk_size=2)]
