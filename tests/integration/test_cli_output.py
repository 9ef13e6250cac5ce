"""Output that nobody reads, or that has no room: no traceback, and the exit code that fits."""

from __future__ import annotations

import subprocess
import sys

import pytest

_FTCTL = f"{sys.executable} -m ftctl.app"


@pytest.fixture(autouse=True, params=["", "1"], ids=["buffered", "unbuffered"])
def buffering(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Python is started from a shell, and as it is in an image: what fails differs."""
    monkeypatch.setenv("PYTHONUNBUFFERED", request.param)


def shell(command: str) -> tuple[int, str, str]:
    """Exit code of the first command of a pipe, stdout, stderr."""
    done = subprocess.run(
        ["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_reader_that_has_enough_is_no_error() -> None:
    assert shell(f"{_FTCTL} config schema | head -c 10") == (0, '{\n  "$sche', "")


@pytest.mark.parametrize("arguments", ["--help", "run --help", "version", "config schema"])
def test_a_reader_that_is_gone_before_the_first_line_is_no_error(arguments: str) -> None:
    # The reader has ended for certain when the command starts.
    gone = f"(sleep 0.2; exec {_FTCTL} {arguments}) | true"
    assert shell(gone) == (0, "", "")


@pytest.mark.parametrize("arguments", ["--help", "run --help", "version", "config schema"])
def test_a_full_disk_behind_stdout_is_told(arguments: str) -> None:
    assert shell(f"{_FTCTL} {arguments} >/dev/full") == (
        5,
        "",
        "error: the output: no space left on this machine's disk\n"
        "Free some, or set TMPDIR to a larger disk.\n",
    )


@pytest.mark.parametrize("arguments", ["--help", "version"])
def test_a_closed_stdout_is_no_bug(arguments: str) -> None:
    assert shell(f"{_FTCTL} {arguments} >&-") == (0, "", "")


@pytest.mark.parametrize("where", ["2>/dev/full", "2>&-"])
def test_an_error_that_cannot_be_told_keeps_its_exit_code(where: str) -> None:
    assert shell(f"{_FTCTL} config show model.lora_r=0 {where}") == (3, "", "")
