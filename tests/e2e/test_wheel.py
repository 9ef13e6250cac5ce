"""What a user gets from the wheel alone, in an environment with nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a new environment with the wheel and what it requires (1 min)."""
    root = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(root), str(PROJECT))
    [wheel] = root.glob("ftctl-*.whl")
    run(sys.executable, "-m", "venv", str(root / "venv"))
    programs = root / "venv" / "bin"
    run(str(programs / "python"), "-m", "pip", "install", "-q", str(wheel))
    return programs


def run(*command: str, cwd: Path | None = None) -> str:
    """Run a command that must succeed; return its stdout."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_bare_installation_is_light(installed: Path) -> None:
    packages = run(str(installed / "python"), "-m", "pip", "list", "--format=freeze")
    names = {line.partition("==")[0].lower() for line in packages.splitlines()}

    assert {"boto3", "hydra-core", "typer"} <= names
    assert names & {"torch", "transformers", "trl", "bitsandbytes", "xllamacpp"} == set()


def test_the_configuration_tree_is_inside(installed: Path, tmp_path: Path) -> None:
    shown = run(str(installed / "ftctl"), "config", "show", "experiment=smoke", cwd=tmp_path)

    assert shown.startswith("name: smoke\n")
    assert "Usage: ftctl" in run(str(installed / "ftctl"), "--help")


def test_a_run_names_what_has_to_be_installed(installed: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [str(installed / "ftctl"), "run", "experiment=smoke"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 2
    assert "pip install 'ftctl[local]'" in done.stderr
    assert list(tmp_path.iterdir()) == []
