"""Forms, model forms and formsets."""

from django import forms

from tests.detectors.corpus.case import bad, fine
from tests.detectors.corpus.models import Author, Comment, Post, Translation

KIND = "form"


class PostForm(forms.ModelForm):
    class Meta:
        model = Post
        fields = ("title", "author", "editor")


class LabelledChoice(forms.ModelChoiceField):
    def label_from_instance(self, author):
        return f"{author.name} ({author.country.name})"


class LabelledForm(forms.Form):
    author = LabelledChoice(Author.objects.all())


class SelectedForm(forms.Form):
    author = LabelledChoice(Author.objects.select_related("country"))


class CommentForm(forms.Form):
    comment = forms.ModelChoiceField(Comment.objects.all())


class PickForm(forms.Form):
    author = forms.ModelChoiceField(Author.objects.all())


class OwnCheckForm(forms.Form):
    name = forms.CharField()

    def clean_name(self):
        if Author.objects.filter(name=self.cleaned_data["name"]).exists():
            raise forms.ValidationError("taken")
        return self.cleaned_data["name"]


def posted(**fields):
    data = {"form-TOTAL_FORMS": "6", "form-INITIAL_FORMS": "0"}
    for name, values in fields.items():
        data.update({f"form-{n}-{name}": value for n, value in enumerate(values)})
    return data


@bad(KIND, "Author.country")
def form_choices_with_labels(request):
    return LabelledForm().as_p()


@bad(KIND, "Comment.author")
def form_choices_by_str(request):
    return CommentForm().as_p()


@fine(KIND)
def formset_validates_choices(request):
    ids = list(Author.objects.values_list("pk", flat=True))
    return forms.formset_factory(PickForm)(posted(author=ids)).is_valid()


@bad(KIND, "Author")
def formset_with_own_check(request):
    names = [f"new {n}" for n in range(6)]
    return forms.formset_factory(OwnCheckForm)(posted(name=names)).is_valid()


@bad(KIND, "Post.author")
def formset_with_instances(request):
    formset = forms.modelformset_factory(Post, fields=("title",), extra=0)(queryset=Post.objects.order_by("pk"))
    return [form.instance.author.name for form in formset]


@fine(KIND)
def form_choices_selected(request):
    return SelectedForm().as_p()


@fine(KIND)
def form_two_choices_of_one_model(request):
    return PostForm().as_p()


@fine(KIND)
def form_validates_two_choices_of_one_model(request):
    one, two, *_ = Author.objects.values_list("pk", flat=True)
    return PostForm({"title": "t", "author": one, "editor": two}).is_valid()


@fine(KIND)
def formset_checks_uniqueness(request):
    formset = forms.modelformset_factory(Translation, fields=("key", "text"), extra=6)
    return formset(posted(key=[f"new {n}" for n in range(6)], text=["t"] * 6)).is_valid()


@fine(KIND)
def formset_saves(request):
    formset = forms.modelformset_factory(Translation, fields=("key", "text"), extra=6)
    formset = formset(posted(key=[f"new {n}" for n in range(6)], text=["t"] * 6), queryset=Translation.objects.none())
    return formset.is_valid() and formset.save()


@fine(KIND)
def form_saves_many_to_many(request):
    form = forms.modelform_factory(Post, fields=("tags",))
    post = Post.objects.first()
    bound = form({"tags": list(post.tags.values_list("pk", flat=True))}, instance=post)
    return bound.is_valid() and bound.save()
