"""k8s/samples are what this version renders."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.yaml")}


def test_the_samples_are_rendered_anew_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PROJECT)
    samples = runpy.run_path(str(PROJECT / "k8s" / "samples.py"))

    samples["write_samples"](tmp_path)

    # Where they differ: `make samples`, and read the difference.
    assert contents(tmp_path) == contents(PROJECT / "k8s" / "samples")
