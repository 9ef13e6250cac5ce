"""A store that was moved: a run in it goes on there."""

from __future__ import annotations

import shutil
from pathlib import Path

from ftctl.contract.layout import RunLayout
from tests.integration.run.conftest import Published, Workplace


def test_resume_works_in_the_store_it_is_given_and_not_where_the_run_was_made(
    workplace: Workplace, published: Published, tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(published.store, tmp_path / "moved"))
    keys = RunLayout(published.run_id)
    (moved / keys.success).unlink()
    shutil.rmtree(moved / keys.gguf)

    done = workplace.ftctl("resume", "--json", published.run_id, f"storage.url={moved}")

    assert done.code == 0, done.stderr
    assert (moved / keys.success).is_file()
    assert (moved / keys.gguf / "tiny-Q8_0.gguf").is_file()


def test_resume_refuses_settings_that_belong_to_the_run(
    workplace: Workplace, published: Published
) -> None:
    done = workplace.ftctl(
        "resume", published.run_id, f"storage.url={published.store}", "training.max_steps=9"
    )
    assert done.code == 2
    assert done.stderr.startswith(
        "error: override training.max_steps=9: training.max_steps belongs"
    )
