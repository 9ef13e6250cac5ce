"""A folder of rendered runs in a git repository."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ftctl.errors import ConfigError, StorageError
from ftctl.runs.gitfolder import write_run


def an_object(kind: str, stage: str | None = None) -> dict[str, Any]:
    labels = {"ftctl.dev/stage": stage} if stage else {}
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": "x", "labels": labels}}


def resources(folder: Path) -> Any:
    return yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]


def test_what_an_earlier_rendering_of_the_run_left_is_removed(tmp_path: Path) -> None:
    write_run(tmp_path, "run-a", [an_object("Job", "train"), an_object("ServiceAccount")])
    write_run(tmp_path, "run-a", [an_object("Job", "train")])

    assert sorted(path.name for path in (tmp_path / "run-a").iterdir()) == [
        "job-train.yaml",
        "kustomization.yaml",
    ]
    assert resources(tmp_path / "run-a") == ["job-train.yaml"]
    assert resources(tmp_path) == ["run-a"]


def test_other_runs_stay_and_those_that_were_deleted_are_taken_out(tmp_path: Path) -> None:
    for run_id in ("run-a", "run-b"):
        write_run(tmp_path, run_id, [an_object("ConfigMap")])
    for path in (tmp_path / "run-a").iterdir():
        path.unlink()
    (tmp_path / "run-a").rmdir()

    write_run(tmp_path, "run-c", [an_object("ConfigMap")])

    assert resources(tmp_path) == ["run-b", "run-c"]


def test_what_users_wrote_into_the_kustomization_stays(tmp_path: Path) -> None:
    own = {
        "namePrefix": "team-",
        "resources": ["https://example.org/base", "extra.yaml", "gone.yaml"],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(own))
    (tmp_path / "extra.yaml").touch()

    write_run(tmp_path, "run-a", [an_object("ConfigMap")])

    assert yaml.safe_load((tmp_path / "kustomization.yaml").read_text()) == {
        "namePrefix": "team-",
        "resources": ["https://example.org/base", "extra.yaml", "run-a"],
    }


def test_a_kustomization_that_needs_no_change_keeps_its_comments(tmp_path: Path) -> None:
    text = "# Mine.\nresources:\n- run-a\n"
    (tmp_path / "kustomization.yaml").write_text(text)

    write_run(tmp_path, "run-a", [an_object("ConfigMap")])

    assert (tmp_path / "kustomization.yaml").read_text() == text


@pytest.mark.parametrize("text", ["- a\n", "resources: a\n", "{", ""])
def test_a_file_that_is_no_kustomization_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "kustomization.yaml").write_text(text)

    with pytest.raises(ConfigError, match="no kustomization with a list of resources"):
        write_run(tmp_path, "run-a", [an_object("ConfigMap")])


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StorageError, match="file"):
        write_run(tmp_path / "file", "run-a", [an_object("ConfigMap")])
