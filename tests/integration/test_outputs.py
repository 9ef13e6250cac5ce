"""Places outside the store that can never be written are refused before a run starts."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest

from ftctl.contract.spec import Config
from ftctl.errors import ConfigError, StorageError
from ftctl.runs.outputs import check_outputs
from ftctl_trainer.export.isolated import isolated
from ftctl_trainer.export.plain_path import save_merged
from tests.integration.disks import disk_of


def _config(key: str, value: Path) -> Config:
    section, _, name = key.partition(".")
    return Config.model_validate({section: {name: str(value)}})


@pytest.mark.parametrize(
    "key",
    ["paths.final_weights_path", "paths.merged_model_path", "testing.output_test_file"],
)
def test_a_path_below_a_file_is_refused(tmp_path: Path, key: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match=rf"{key}: {tmp_path}/file is a file, where a folder"):
        check_outputs(_config(key, Path("file") / "below" / "it"), tmp_path)


def test_a_folder_in_the_place_of_the_answers_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"output_test_file: .* is a folder\nName a file"):
        check_outputs(_config("testing.output_test_file", tmp_path), tmp_path)


def test_folders_that_are_not_there_yet_are_accepted_and_not_made(tmp_path: Path) -> None:
    check_outputs(_config("paths.final_weights_path", Path("new") / "below"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_merged_model_that_cannot_be_written_is_told_across_processes(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="a file stands where a folder is needed"):
        isolated(
            threading.Event(), save_merged, tmp_path, tmp_path, tmp_path, tmp_path / "file" / "x"
        )


def test_a_full_disk_is_told_across_processes() -> None:
    with pytest.raises(StorageError, match="no space left on this machine's disk"):
        isolated(threading.Event(), Path("/dev/full").write_text, "x")


def test_a_full_disk_below_an_array_is_told_across_processes(tmp_path: Path) -> None:
    with (
        disk_of(2, tmp_path / "disk") as disk,
        pytest.raises(StorageError, match="no space left on this machine's disk"),
    ):
        isolated(threading.Event(), np.zeros(2**20).tofile, disk / "x")


def test_a_bug_keeps_its_traceback_across_processes() -> None:
    with pytest.raises(
        RuntimeError, match=r"(?s)loads failed:.*json/__init__\.py.*JSONDecodeError"
    ):
        isolated(threading.Event(), json.loads, "{")
