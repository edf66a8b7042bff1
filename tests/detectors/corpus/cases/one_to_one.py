"""One-to-one relations, both ways, and inherited tables."""

from tests.detectors.corpus.case import bad, fine
from tests.detectors.corpus.models import Author, Place, Profile, Restaurant

KIND = "one to one"


@bad(KIND, "Author.profile")
def one_reverse_in_loop(request):
    return [author.profile.website for author in Author.objects.all()]


@bad(KIND, "Profile.author")
def one_forward_in_loop(request):
    return [profile.author.name for profile in Profile.objects.all()]


@bad(KIND, "Author.profile")
def one_has_profile(request):
    Profile.objects.filter(author=Author.objects.first()).delete()
    return [author.name for author in Author.objects.all() if hasattr(author, "profile")]


@bad(KIND, "Place.restaurant")
def one_child_of_inheritance(request):
    return [place.restaurant.stars for place in Place.objects.all()]


@bad(KIND, "Profile.author", "Author.country")
def one_then_foreign_key(request):
    return [profile.author.country.name for profile in Profile.objects.iterator()]


@fine(KIND)
def one_reverse_selected(request):
    return [author.profile.website for author in Author.objects.select_related("profile")]


@fine(KIND)
def one_reverse_prefetched(request):
    return [author.profile.website for author in Author.objects.prefetch_related("profile")]


@fine(KIND)
def one_forward_selected(request):
    return [profile.author.name for profile in Profile.objects.select_related("author")]


@fine(KIND)
def one_of_one_object(request):
    return Author.objects.first().profile.website


@fine(KIND)
def one_parent_of_inheritance(request):
    return [restaurant.name for restaurant in Restaurant.objects.all()]
