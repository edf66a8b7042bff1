"""Default managers that filter and order: soft deletion, tenants."""

from django.db.models import Count, Prefetch, Q

from tests.detectors.corpus.case import bad, fine
from tests.detectors.corpus.models import Album, Artist, Genre, Project, Ticket

KIND = "managers that filter"


@bad(KIND, "Artist.albums")
def manager_reverse(request):
    return [[album.title for album in artist.albums.all()] for artist in Artist.objects.all()]


@bad(KIND, "Album.genres")
def manager_many_to_many(request):
    return [[genre.name for genre in album.genres.all()] for album in Album.objects.all()]


@bad(KIND, "Genre.albums")
def manager_reverse_many_to_many(request):
    return [[album.title for album in genre.albums.all()] for genre in Genre.live.all()]


@bad(KIND, "Album.artist")
def manager_of_foreign_keys(request):
    return [album.artist.name for album in Album.objects.all()]


@bad(KIND, "Project.tickets")
def manager_with_an_order(request):
    return [[ticket.name for ticket in project.tickets.all()] for project in Project.objects.all()]


@bad(KIND, "Artist.albums")
def manager_reverse_filtered(request):
    return [[album.title for album in artist.albums.filter(title="album 1")] for artist in Artist.objects.all()]


@bad(KIND, "Artist.albums")
def manager_reverse_counted(request):
    return [artist.albums.count() for artist in Artist.objects.all()]


@bad(KIND, "Artist.albums")
def manager_reverse_asked_for(request):
    return [artist.albums.exists() for artist in Artist.objects.all()]


@bad(KIND, "Project.tickets")
def manager_first_of_ordered(request):
    return [project.tickets.first().name for project in Project.objects.all()]


@bad(KIND, "Artist")
def manager_get(request):
    return [Artist.objects.get(pk=album.artist_id).name for album in Album.objects.all()]


@bad(KIND, "Ticket")
def manager_counted_by_filter(request):
    return [Ticket.objects.filter(project=project).count() for project in Project.objects.all()]


@fine(KIND)
def manager_prefetched(request):
    return [[album.title for album in artist.albums.all()] for artist in Artist.objects.prefetch_related("albums")]


@fine(KIND)
def manager_of_foreign_keys_prefetched(request):
    return [album.artist.name for album in Album.objects.prefetch_related("artist")]


@fine(KIND)
def manager_prefetched_from_another(request):
    everything = Prefetch("albums", queryset=Album.objects.order_by("-pk"))
    return [list(artist.albums.all()) for artist in Artist.everything.prefetch_related(everything)]


@fine(KIND)
def manager_counted(request):
    return list(Artist.objects.annotate(n=Count("albums", filter=Q(albums__is_deleted=False))).values_list("n"))


@fine(KIND)
def manager_of_one_object(request):
    artist = Artist.objects.first()
    return list(artist.albums.all()), artist.albums.count(), artist.albums.first()
