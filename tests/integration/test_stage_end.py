"""How the process of a stage ends: with its code, and after all that was to run at its exit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

STAGE = f"{sys.executable} -m ftctl_trainer train --config"


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("where", ["", ">/dev/full 2>&1", "| true"])
def test_the_exit_code_is_the_stages_whoever_reads_its_log(
    where: str, unbuffered: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    done = subprocess.run(
        ["bash", "-c", f"{STAGE} {tmp_path}/absent.yaml {where}; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
    )

    assert done.returncode == 3
    if not where:
        assert "absent.yaml: cannot be read: No such file" in done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr


def test_what_was_registered_for_the_exit_runs_and_what_is_written_arrives() -> None:
    code = (
        "import atexit; from ftctl_trainer.main import end; "
        "atexit.register(print, 'registered'); print('written', end=' '); end(7)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert (done.returncode, done.stdout, done.stderr) == (7, "written registered\n", "")
