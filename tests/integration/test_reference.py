"""docs/reference is what the code says, and links between pages lead somewhere."""

from __future__ import annotations

import re
import runpy
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
REFERENCE = PROJECT / "docs" / "reference"
# Inline links and images; a title after the target is left out.
_LINK = re.compile(r"\]\(([^)\s]+)[^)]*\)")
_FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def markdown_files() -> list[Path]:
    """Pages that git tracks."""
    listed = subprocess.run(
        ["git", "ls-files", "*.md"], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    return [PROJECT / name for name in listed.stdout.splitlines()]


def anchors(page: Path) -> set[str]:
    """The fragments of a page's headings, as code hosts make them."""
    text = _FENCED.sub("", page.read_text(encoding="utf-8"))
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in _HEADING.findall(text))
    return {heading.replace(" ", "-") for heading in plain}


def test_the_reference_is_generated_anew_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    runpy.run_path(str(PROJECT / "docs" / "generate.py"))["write_reference"](tmp_path)

    # Where they differ: `make reference`, and read the difference.
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        path.name: path.read_text() for path in REFERENCE.iterdir()
    }


def test_troubleshooting_has_every_reason_that_a_cluster_gives() -> None:
    page = (PROJECT / "docs" / "how-to" / "troubleshooting.md").read_text(encoding="utf-8")
    sources = (PROJECT / "cli" / "ftctl" / "cluster").glob("*.py")
    codes = {code for file in sources for code in re.findall(r'code="(\w+)"', file.read_text())}
    assert "OOMKilled" in codes
    assert {code for code in codes if f"`{code}`" not in page} == set()


@pytest.mark.parametrize("page", markdown_files(), ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    dead = []
    for target in _LINK.findall(_FENCED.sub("", page.read_text(encoding="utf-8"))):
        name, _, fragment = target.partition("#")
        if ":" in name:
            continue
        there = (page.parent / name).resolve() if name else page
        if not there.exists() or (fragment and fragment not in anchors(there)):
            dead.append(target)
    assert dead == []
