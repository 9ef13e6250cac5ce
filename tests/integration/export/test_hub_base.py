"""A base that is a hub's: the convert stage reads its weights by range, and keeps none of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from ftctl.contract.runfile import ModelSource
from tests.integration.export.conftest import Handoff
from tests.integration.export.convert_runs import handed_over, is_published, published_files
from tests.integration.readable_hub import COMMIT, Hub, readable_hub
from tests.integration.tiny_run import TinyRun

NAME = "tiny"  # as the runs of the folder have it: the GGUF's metadata tells the name


@pytest.fixture
def hub(handoff: Handoff, tmp_path: Path) -> Hub:
    """It has the weights in another format, too, which are no part of the model."""
    folder = Path(shutil.copytree(handoff.base, tmp_path / "model"))
    (folder / "consolidated.safetensors").write_bytes(b"of no use here")
    return Hub(NAME, folder)


def test_its_weights_are_read_by_range_and_the_bytes_are_a_folders(
    hub: Hub, handoff: Handoff, finished: TinyRun, tmp_path: Path
) -> None:
    hub.faults = ("503", "silent", "cut")
    hub.token = "of-a-private-model"

    code, run, said = converted(hub, handoff, tmp_path, token=hub.token)

    assert code == 0, said
    assert "reading tiny from the model hub by range" in said
    assert sums(run) == sums(finished)
    assert hub.asked
    assert all(asked.startswith("bytes=") for _, asked in hub.asked)
    unused = [asked for name, asked in hub.asked if name == "consolidated.safetensors"]
    assert set(unused) <= {"bytes=0-7"}, "whether the hub sends ranges at all"
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def test_half_a_model_in_the_hubs_cache_is_not_taken_for_the_whole(
    hub: Hub, handoff: Handoff, finished: TinyRun, tmp_path: Path
) -> None:
    begun = tmp_path / "cache" / "hub" / f"models--{NAME}" / "snapshots" / COMMIT
    begun.mkdir(parents=True)
    shutil.copy(hub.folder / "config.json", begun)
    (begun / "model-00001-of-00002.safetensors").write_bytes(b"the first of two")

    code, run, said = converted(hub, handoff, tmp_path)

    assert code == 0, said
    assert "reading tiny from the model hub by range" in said
    assert sums(run) == sums(finished)


@pytest.mark.parametrize("lacks", ["ranges", "hashes"])
def test_a_hub_whose_weights_cannot_be_read_by_range_is_downloaded_from_once(
    hub: Hub, handoff: Handoff, finished: TinyRun, tmp_path: Path, lacks: str
) -> None:
    setattr(hub, lacks, False)
    code, run, said = converted(hub, handoff, tmp_path)
    assert code == 0, said
    assert "downloading tiny: its weights cannot be read by range" in said
    assert sums(run) == sums(finished)

    hub.asked.clear()
    code, run, said = converted(hub, handoff, tmp_path, attempt="again")

    assert code == 0, said
    assert hub.asked == []
    assert sums(run) == sums(finished)


def test_weights_that_are_not_what_the_hub_keeps_a_sha256_of_are_not_published(
    hub: Hub, handoff: Handoff, tmp_path: Path
) -> None:
    hub.damaged = True

    code, run, said = converted(hub, handoff, tmp_path)

    assert code == 5, said
    assert f"/tiny/resolve/{COMMIT}/model.safetensors" in said
    assert not is_published(run)


def sums(run: TinyRun) -> bytes:
    """SHA256SUMS over all that was published."""
    return published_files(run)["SHA256SUMS"]


def converted(
    hub: Hub, handoff: Handoff, root: Path, attempt: str = "run", token: str = ""
) -> tuple[int, TinyRun, str]:
    """Run the convert stage of a run whose base is the hub's; return its code and what it said."""
    copy = {"final_weights_path": str(root / attempt / "copy")}
    run = handed_over(root / attempt, handoff, paths=copy)
    file = yaml.safe_load(run.file.read_text(encoding="utf-8"))
    source = ModelSource(name=NAME, kind="hub", revision=COMMIT)
    file["model"] = source.model_dump(mode="json")
    run.file.write_text(yaml.safe_dump(file), encoding="utf-8")
    run.store.write(run.layout.config, run.file.read_bytes())
    with readable_hub(hub) as address:
        run.environment = {
            "HF_ENDPOINT": address,
            "HF_HUB_OFFLINE": "0",
            "HF_HOME": str(root / "cache"),
            "HF_HUB_DOWNLOAD_TIMEOUT": "2",
            "HF_TOKEN": token,
            "NO_PROXY": "127.0.0.1",
        }
        code, lines = run.finish(run.start("convert"))
    return code, run, "\n".join(line["message"] for line in lines)
