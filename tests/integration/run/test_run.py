"""`ftctl run` from data to a published GGUF, with real training and real llama.cpp."""

from __future__ import annotations

import hashlib
import json

from ftctl.contract.lineage import Manifest
from ftctl.contract.operational import StorageConfig
from ftctl.storage.open import open_store
from tests.integration.run.conftest import (
    Published,
    Workplace,
    adapter_bytes,
    json_lines,
    run_ids,
)


def test_publishes_a_gguf_with_its_proof_and_its_lineage(published: Published) -> None:
    folder = published.folder
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    gguf = folder / "gguf" / "tiny-Q8_0.gguf"

    assert published.answer["gguf"] == [str(gguf)]
    assert published.answer["state"] == "succeeded"
    assert json.loads((folder / "verify.json").read_bytes())["passed"] is True
    outputs = {record.name: record.sha256 for record in manifest.outputs}
    assert outputs["gguf/tiny-Q8_0.gguf"] == hashlib.sha256(gguf.read_bytes()).hexdigest()
    assert manifest.run_id == published.run_id
    assert manifest.dataset.rows == {"train": 24, "eval": 8}
    assert (folder / "_SUCCESS").is_file()
    assert "<html" in (folder / "report.html").read_text(encoding="utf-8")


def test_the_outcome_has_a_row_for_before_after_and_every_quantization(
    published: Published,
) -> None:
    names = [row["name"] for row in published.answer["outcome"]]

    assert names == ["before", "after", "q8_0", "majority", "keyword"]


def test_metrics_have_every_logged_step_once(published: Published) -> None:
    lines = json_lines(published.folder / "metrics.jsonl")

    assert [line["step"] for line in lines if line.get("loss") is not None] == list(range(1, 9))
    assert [line["step"] for line in lines if line.get("eval_loss") is not None] == [4, 8]


def test_a_published_run_is_not_repeated(workplace: Workplace, published: Published) -> None:
    before = (published.folder / "events.jsonl").read_bytes()

    again = workplace.ftctl("run", f"storage.url={published.store}", *workplace.settings)

    assert again.code == 0
    assert f"{published.run_id} is published already." in again.stderr
    assert published.answer["gguf"][0] in again.stdout
    assert (published.folder / "events.jsonl").read_bytes() == before
    assert run_ids(published.store) == [published.run_id]


def test_equal_inputs_give_the_same_id_and_the_same_adapter_in_another_store(
    workplace: Workplace, published: Published, s3_config: StorageConfig
) -> None:
    done = workplace.ftctl(
        "run",
        "--json",
        f"storage.url={s3_config.url}",
        f"storage.endpoint_url={s3_config.endpoint_url}",
        "cluster.gpus=4",
        "tracking.project=other",
        *workplace.settings,
    )

    assert done.code == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["run_id"] == published.run_id
    store = open_store(s3_config)
    adapter = store.read(f"{published.layout.adapter}adapter_model.safetensors")
    assert adapter == adapter_bytes(published.store, published.run_id)
    assert store.stat(published.layout.success) is not None


def test_new_makes_another_run_of_the_same_inputs(
    workplace: Workplace, published: Published
) -> None:
    store = workplace.root / "another"
    done = workplace.ftctl(
        "run",
        "--json",
        "--new",
        f"storage.url={store}",
        *workplace.settings,
        "training.max_steps=1",
        "testing.test=false",
    )

    assert done.code == 0, done.stderr
    assert json.loads(done.stdout)["run_id"] != published.run_id


def test_every_answer_is_written_where_it_is_asked_for(
    workplace: Workplace, published: Published
) -> None:
    done = workplace.ftctl(
        "run",
        f"storage.url={published.store}",
        *workplace.settings,
        "testing.output_test_file=answers/all.json",
    )

    answers = json.loads((workplace.root / "answers" / "all.json").read_text(encoding="utf-8"))
    assert done.code == 0, done.stderr
    assert [answer["id"] for answer in answers] == ["row-24", "row-25", "row-26", "row-27"]
    assert all(answer["before"] is not None for answer in answers)
    assert [list(answer["quantized"]) for answer in answers] == [["q8_0"]] * 4


def test_a_missed_limit_publishes_nothing_and_the_run_waits_for_resume(
    workplace: Workplace,
) -> None:
    store = workplace.root / "missed"
    command = (
        "run",
        f"storage.url={store}",
        *workplace.settings,
        "training.max_steps=2",
        "testing.test=false",
        "quantize.verify.thresholds.q8_0.mean_kl=1e-12",
    )

    done = workplace.ftctl(*command)

    [run_id] = run_ids(store)
    folder = store / "runs" / run_id
    assert done.code == 8
    assert "q8_0: mean_kl is" in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads((folder / "verify.json").read_bytes())["passed"] is False
    assert not (folder / "_SUCCESS").exists()
    assert list(folder.rglob("*.gguf")) == []

    again = workplace.ftctl(*command)

    assert again.code == 7
    assert f"`ftctl resume {run_id}` tries again" in again.stderr
