"""The generated pages are what the code says now."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"


def generator():
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", generator().PAGES)
def test_generated_page_is_current(name):
    assert (DOCS / name).read_text() == generator().PAGES[name](), "run: uv run python docs/generate.py"


def test_every_span_a_seam_documents_uses_described_attributes():
    from clew.attributes import DESCRIPTIONS
    from clew.seams import seams

    used = {name for seam in seams() for doc in seam.spans for name in doc.attributes}
    assert used <= set(DESCRIPTIONS)


def test_citations_of_upstreams_defects_lead_somewhere():
    root = DOCS.parent
    upstream = (DOCS / "upstream.md").read_text()
    rows = set(re.findall(r"^\| (\w+ \d+) \|", upstream, re.MULTILINE))
    sources = [path.read_text() for folder in ("src", "tests") for path in (root / folder).rglob("*.py")]
    cited = {
        f"{library} {number}"
        for source in sources
        for library, numbers in re.findall(r"upstream\.md, (\w+) (\d+(?:(?:, | and )\d+)*)", source)
        for number in re.findall(r"\d+", numbers)
    }
    assert cited
    assert cited <= rows
    assert [path for path in set(re.findall(r"`(tests/[^`]+)`", upstream)) if not (root / path).exists()] == []


def test_readme_has_the_two_commands():
    readme = (DOCS.parent / "README.md").read_text()
    assert "pip install uv && uv run clew demo --once" in readme
    assert "pip install uv && uv run pytest" in readme
    # What CI runs is what it reads there.
    (reads,) = re.findall(r"^command=(.*)$", (DOCS.parent / ".ci" / "run").read_text(), re.MULTILINE)
    said = subprocess.run(["bash", "-c", f"echo {reads}"], cwd=DOCS.parent, capture_output=True, text=True)
    assert said.stdout == "pip install uv && uv run pytest\n"


# What upstream, a text of SQL or another seam gives the span's name, by the row: the words that make it.
NAMED_BY = {
    "GET users/<username>/": "verb_of",
    "GET events/<room>/": "sanitize_method",
    "view shop.consumers.Events.handle": "view_of",
    "SELECT auth_user": "span_name",
    "load template page.html": "loading",
}


def words_of(path):
    """The names and strings of a file, but for what its docstrings and its `SpanDoc`s say."""
    tree = ast.parse(path.read_text())
    documented = {id(each) for node in ast.walk(tree) if is_document(node) for each in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) not in documented:
            yield getattr(node, "value", None) if isinstance(node, ast.Constant) else None
            yield getattr(node, "id", getattr(node, "attr", None))
            if isinstance(node, ast.ImportFrom):
                yield from [each.name for each in node.names]


def is_document(node):
    is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return is_docstring or (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "SpanDoc")


def rows_of_spans():
    source = ""
    for line in (DOCS / "spans.md").read_text().splitlines():
        source = next(iter(re.findall(r"source: \[`(.*?)`\]", line)), source)
        yield from [(source, name) for name in re.findall(r"^### `(.*)`", line)]


def makes(source, name):
    path = DOCS.parent / source
    made = NAMED_BY.get(name, re.split("[ /]", name)[0])
    words = [word for file in ([path] if path.is_file() else path.glob("*.py")) for word in words_of(file)]
    return any(type(word) is str and re.match(rf"{made}($|[ /])", word) for word in words)


def test_from_a_span_to_its_source():
    rows = list(rows_of_spans())
    assert len(rows) > 40
    assert [row for row in rows if not makes(*row)] == []


def test_from_a_finding_to_its_source():
    types = re.findall(r"^## (\w+)$", (DOCS / "findings.md").read_text(), re.MULTILINE)
    detectors = DOCS.parent / "src" / "clew" / "detectors"
    assert len(types) > 20
    assert [each for each in types if "Finding(" not in (detectors / f"{each}.py").read_text()] == []


def test_every_file_that_the_architecture_names_is_there():
    text = (DOCS / "architecture.md").read_text()
    named = set(re.findall(r"`((?:src/clew/|tests/)?[a-z_/0-9]+(?:/|\.py))`", text))
    assert len(named) > 40
    root = DOCS.parent
    assert [each for each in named if not any((root / base / each).exists() for base in ("", "src/clew"))] == []
