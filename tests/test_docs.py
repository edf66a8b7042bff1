"""The generated pages are what the code says now."""

from __future__ import annotations

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
