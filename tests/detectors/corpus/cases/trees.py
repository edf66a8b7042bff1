"""Rows that lead to rows of the same table."""

from tests.detectors.corpus.case import bad, fine
from tests.detectors.corpus.models import Category

KIND = "tree"


@bad(KIND, "Category.children", rows=8)
def tree_walk_down(request):
    def walk(node):
        return {child.name: walk(child) for child in node.children.all()}

    return walk(Category.objects.get(parent=None))


@bad(KIND, "Category.parent", rows=8)
def tree_walk_up(request):
    node, names = Category.objects.last(), []
    while node is not None:
        names.append(node.name)
        node = node.parent
    return names


@bad(KIND, "Category.children", rows=8)
def tree_recursive_generator(request):
    return [each.name for each in Category.objects.get(parent=None).descendants()]


@bad(KIND, "Category.parent", rows=8)
def tree_recursive_method(request):
    return Category.objects.last().path()


@bad(KIND, "Category", rows=8)
def tree_by_filter(request):
    found, level = [], [None]
    while level:
        found += level
        level = [child for each in level for child in Category.objects.filter(parent=each) if each or not found[1:]]
    return found


@fine(KIND)
def tree_in_one_query(request):
    children = {}
    for category in Category.objects.all():
        children.setdefault(category.parent_id, []).append(category)
    return children


@fine(KIND)
def tree_two_levels_prefetched(request):
    categories = Category.objects.filter(parent=None).prefetch_related("children__children")
    return [[list(child.children.all()) for child in category.children.all()] for category in categories]


@fine(KIND)
def tree_parents_selected(request):
    return [category.parent and category.parent.name for category in Category.objects.select_related("parent")]
