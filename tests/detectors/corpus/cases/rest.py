"""Django REST framework."""

from rest_framework import generics, serializers
from rest_framework.decorators import api_view
from rest_framework.response import Response

from tests.detectors.corpus.case import bad, fine
from tests.detectors.corpus.models import Author, Comment, Post, Tag

KIND = "REST serializer"


class AuthorSerializer(serializers.ModelSerializer):
    class Meta:
        model = Author
        fields = ("id", "name")


class CommentSerializer(serializers.ModelSerializer):
    class Meta:
        model = Comment
        fields = ("id", "text")


class NestedSerializer(serializers.ModelSerializer):
    author = AuthorSerializer()

    class Meta:
        model = Post
        fields = ("id", "title", "author")


class NestedManySerializer(serializers.ModelSerializer):
    comments = CommentSerializer(many=True)

    class Meta:
        model = Post
        fields = ("id", "comments")


class TwoKeysSerializer(serializers.ModelSerializer):
    author = AuthorSerializer()
    editor = AuthorSerializer()

    class Meta:
        model = Post
        fields = ("id", "author", "editor")


class MethodSerializer(serializers.ModelSerializer):
    commented = serializers.SerializerMethodField()

    class Meta:
        model = Post
        fields = ("id", "commented")

    def get_commented(self, post):
        return post.comments.exists()


class MethodWithSerializer(serializers.ModelSerializer):
    country = serializers.SerializerMethodField()

    class Meta:
        model = Post
        fields = ("id", "country")

    def get_country(self, post):
        return CountryOfSerializer(post.author).data


class CountryOfSerializer(serializers.ModelSerializer):
    country = serializers.CharField(source="country.name")

    class Meta:
        model = Author
        fields = ("country",)


class SourceSerializer(serializers.ModelSerializer):
    author_name = serializers.CharField(source="author.name")

    class Meta:
        model = Post
        fields = ("id", "author_name")


class CountSerializer(serializers.ModelSerializer):
    total = serializers.IntegerField(source="comments.count")

    class Meta:
        model = Post
        fields = ("id", "total")


class KeysSerializer(serializers.ModelSerializer):
    class Meta:
        model = Post
        fields = ("id", "author", "editor", "category")


class ManyKeysSerializer(serializers.ModelSerializer):
    class Meta:
        model = Post
        fields = ("id", "tags")


class DeepSerializer(serializers.ModelSerializer):
    class Meta:
        model = Post
        fields = ("id", "category")
        depth = 1


class SlugSerializer(serializers.ModelSerializer):
    author = serializers.SlugRelatedField(slug_field="name", read_only=True)

    class Meta:
        model = Post
        fields = ("author",)


class StringSerializer(serializers.ModelSerializer):
    author = serializers.StringRelatedField()

    class Meta:
        model = Post
        fields = ("author",)


class CategorySerializer(serializers.ModelSerializer):
    def to_representation(self, instance):
        return {**super().to_representation(instance), "tags": [tag.name for tag in instance.tags.all()]}

    class Meta:
        model = Post
        fields = ("id",)


class TaggingSerializer(serializers.Serializer):
    post = serializers.PrimaryKeyRelatedField(queryset=Post.objects.all())
    tags = serializers.PrimaryKeyRelatedField(queryset=Tag.objects.all(), many=True)


class PairSerializer(serializers.Serializer):
    author = serializers.PrimaryKeyRelatedField(queryset=Author.objects.all())
    editor = serializers.PrimaryKeyRelatedField(queryset=Author.objects.all())


class PostList(generics.ListAPIView):
    queryset = Post.objects.order_by("pk")
    serializer_class = NestedSerializer


class SelectedPostList(PostList):
    queryset = Post.objects.select_related("author").order_by("pk")


def listed(serializer, posts=None):
    return serializer(Post.objects.all() if posts is None else posts, many=True).data


@bad(KIND, "Post.author")
def rest_nested(request):
    return listed(NestedSerializer)


@bad(KIND, "Post.comments")
def rest_nested_many(request):
    return listed(NestedManySerializer)


@bad(KIND, "Post.author", "Post.editor")
def rest_two_nested_of_one_model(request):
    return listed(TwoKeysSerializer)


@bad(KIND, "Post.comments")
def rest_method_field(request):
    return listed(MethodSerializer)


@bad(KIND, "Author.country")
def rest_serializer_in_method_field(request):
    return listed(MethodWithSerializer, Post.objects.select_related("author"))


@bad(KIND, "Post.author")
def rest_source(request):
    return listed(SourceSerializer)


@bad(KIND, "Post.comments")
def rest_source_count(request):
    return listed(CountSerializer)


@bad(KIND, "Post.tags")
def rest_many_keys(request):
    return listed(ManyKeysSerializer)


@bad(KIND, "Post.category")
def rest_depth(request):
    return listed(DeepSerializer)


@bad(KIND, "Post.author")
def rest_slug_field(request):
    return listed(SlugSerializer)


@bad(KIND, "Post.author")
def rest_string_field(request):
    return listed(StringSerializer)


@bad(KIND, "Post.tags")
def rest_to_representation(request):
    return listed(CategorySerializer)


@bad(KIND, "Post.author", path="/rest/posts/")
def rest_generic_view(request):
    """PostList."""


@bad(KIND, "Tag")
def rest_many_keys_as_input(request):
    tags = list(Tag.objects.values_list("pk", flat=True))
    data = {"post": Post.objects.first().pk, "tags": tags}
    return TaggingSerializer(data=data).is_valid(raise_exception=True)


@bad(KIND, "Author")
def rest_rows_as_input(request):
    ids = list(Author.objects.values_list("pk", flat=True))
    rows = [{"author": pk, "editor": pk} for pk in ids]
    return PairSerializer(data=rows, many=True).is_valid(raise_exception=True)


@api_view(["GET"])
def function_view(request):
    return Response(listed(SourceSerializer))


@bad(KIND, "Post.author", path="/rest/function/")
def rest_function_view(request):
    """function_view."""


@fine(KIND)
def rest_nested_selected(request):
    return listed(NestedSerializer, Post.objects.select_related("author"))


@fine(KIND)
def rest_nested_many_prefetched(request):
    return listed(NestedManySerializer, Post.objects.prefetch_related("comments"))


@fine(KIND)
def rest_keys_only(request):
    return listed(KeysSerializer)


@fine(KIND)
def rest_many_keys_prefetched(request):
    return listed(ManyKeysSerializer, Post.objects.prefetch_related("tags"))


@fine(KIND)
def rest_one_object(request):
    return TwoKeysSerializer(Post.objects.first()).data


@fine(KIND)
def rest_two_keys_as_input(request):
    one, two, *_ = Author.objects.values_list("pk", flat=True)
    return PairSerializer(data={"author": one, "editor": two}).is_valid(raise_exception=True)


@fine(KIND, path="/rest/selected/")
def rest_generic_view_selected(request):
    """SelectedPostList."""
