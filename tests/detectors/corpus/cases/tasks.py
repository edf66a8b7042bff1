"""Celery tasks, run eagerly."""

from celery import Celery

from tests.detectors.corpus.case import bad, fine
from tests.detectors.corpus.models import Author, Comment, Post

KIND = "Celery task"
app = Celery("corpus", broker="memory://", set_as_current=False)
app.conf.update(task_always_eager=True, task_eager_propagates=True, task_ignore_result=True)


@app.task(name="corpus.notify")
def notify():
    for post in Post.objects.all():
        post.author.name  # noqa: B018


@app.task(name="corpus.report")
def report():
    return {author.name: author.posts.count() for author in Author.objects.all()}


@app.task(name="corpus.recipients", bind=True)
def recipients(self, ids):
    return [Author.objects.get(pk=pk).name for pk in ids]


@app.task(name="corpus.notify_well")
def notify_well():
    for post in Post.objects.select_related("author"):
        post.author.name  # noqa: B018


@app.task(name="corpus.one")
def one(pk):
    return Post.objects.get(pk=pk).author.name


@app.task(name="corpus.spam")
def spam():
    return Comment.objects.filter(is_spam=True).count()


@bad(KIND, "Post.author")
def task_with_foreign_key(request):
    notify.delay()


@bad(KIND, "Author.posts")
def task_with_counts(request):
    report.delay()


@bad(KIND, "Author")
def task_with_gets(request):
    recipients.delay(list(Author.objects.values_list("pk", flat=True)))


@fine(KIND)
def task_selected(request):
    notify_well.delay()


@fine(KIND)
def task_for_each_object(request):
    for pk in list(Post.objects.values_list("pk", flat=True)):
        one.delay(pk)


@fine(KIND)
def task_with_one_query(request):
    spam.delay()
