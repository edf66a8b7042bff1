"""Every story of the demo, told once: the trace answers the question, and docs/stories.md shows what is printed.

`uv run python -m tests.cli.test_demo_stories` writes that page anew.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from clew.cli.demo.processes import Interrupts
from clew.cli.demo.runner import _Demo
from clew.cli.demo.show import Show
from clew.cli.demo.stories import STORIES, are_live_told
from tests.cli.test_demo import WORKS_IN_THIS_TIME, launch, make_scratch

PAGE = Path(__file__).parents[2] / "docs" / "stories.md"
# What differs from run to run and from one version of Django to another.
VARYING = (
    (r"\s+\d[\d.]* (µs|ms|s)\s+[━╸╺ ]*$", ""),
    (r" pid \d+\]", "]"),
    (r"  (generic|middleware)/\w+\.py:\d+$", ""),
    (r" · auth/backends\.py:\d+$", ""),
    (r"  [\d.]+ ms in all", ""),
    (r"at:  .*/demo_site/", "at:  …/demo_site/"),
    (r"\(trace [0-9a-f]+…\)", "(trace …)"),
    (r"for [\d.]+ m?s, once", "for 1 s, once"),
    (r"cache_stampede: \d requests", "cache_stampede: 3 requests"),
)


def steady(line):
    for pattern, instead in VARYING:
        line = re.sub(pattern, instead, line)
    return line.rstrip()


def page(printed):
    """The document, of what the demo has printed."""
    lines = [
        "# Stories",
        "",
        "What `clew demo --stories` prints, but for times: questions as they come up, and the trace that answers each.",
        "A test compares this page with a run; `uv run python -m tests.cli.test_demo_stories` writes it anew.",
    ]
    for story in STORIES:
        told = printed.partition(f"\n{story.question}\n")[2].splitlines()
        tree = told[1 : next(at for at, line in enumerate(told) if line.startswith("⇒"))]
        lines += [
            "",
            f"## {story.question}",
            "",
            "```",
            *(steady(line) for line in tree if not line.startswith("── trace")),
            "```",
            "",
            story.answer,
        ]
    return "\n".join(lines) + "\n"


def tell(folder, *more):
    process = launch(make_scratch(folder), folder, "--stories", *more)
    with process:
        out, err = process.communicate(timeout=WORKS_IN_THIS_TIME)
    return process.returncode, out, err


@pytest.mark.skipif(not are_live_told(), reason="Channels or daphne is not installed")
@pytest.mark.slow
def test_each_story_is_told_as_the_page_shows_it(tmp_path):
    code, out, err = tell(tmp_path)
    assert code == 0, err
    assert [story.question for story in STORIES if f"\n{story.question}\n" not in out] == []
    assert max(map(len, out.splitlines())) <= 100
    assert page(out) == PAGE.read_text()


def test_without_channels_the_rest_is_told(monkeypatch, capsys):
    monkeypatch.setattr("clew.cli.demo.runner.are_live_told", lambda: False)
    show = Show()
    with Interrupts() as interrupts:
        demo = _Demo(argparse.Namespace(stories=True, broker=None), show, interrupts)
        assert demo._start_live() == ""
    assert "pip install channels daphne" in capsys.readouterr().err


def test_stories_and_findings_are_two_runs():
    command = [
        sys.executable,
        "-c",
        "import sys; from clew.cli import main; sys.exit(main())",
        "demo",
        "--stories",
        "--findings",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "not allowed with" in done.stderr


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        PAGE.write_text(page(tell(Path(place))[1]))
