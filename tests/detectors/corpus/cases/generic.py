"""Generic foreign keys and generic relations."""

from tests.detectors.corpus.case import bad, fine
from tests.detectors.corpus.models import Note, Post

KIND = "generic relation"


@bad(KIND, "Note.subject")
def generic_key_in_loop(request):
    return [note.subject.title for note in Note.objects.all()]


@bad(KIND, "Note.subject")
def generic_key_after_iterator(request):
    return [note.subject.pk for note in Note.objects.iterator()]


@bad(KIND, "Post.notes")
def generic_relation_in_loop(request):
    return [[note.text for note in post.notes.all()] for post in Post.objects.all()]


@bad(KIND, "Post.notes")
def generic_relation_counted(request):
    return [post.notes.count() for post in Post.objects.all()]


@bad(KIND, "Post.notes")
def generic_relation_filtered(request):
    return [list(post.notes.filter(text="note")) for post in Post.objects.all()]


@fine(KIND)
def generic_key_prefetched(request):
    return [note.subject.title for note in Note.objects.prefetch_related("subject")]


@fine(KIND)
def generic_relation_prefetched(request):
    return [[note.text for note in post.notes.all()] for post in Post.objects.prefetch_related("notes")]


@fine(KIND)
def generic_key_of_one_object(request):
    note = Note.objects.first()
    return note.subject, note.subject


@fine(KIND)
def generic_relation_twice_of_one_object(request):
    post = Post.objects.first()
    return [list(post.notes.all()) for _ in range(2)]


@fine(KIND)
def generic_key_null(request):
    Note.objects.update(object_id=0)
    return [note.subject for note in Note.objects.filter(text="nothing")]
