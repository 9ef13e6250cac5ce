"""The train stage as a pod runs it: a real model, a real store, real signals."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from ftctl.contract.evaluation import Evaluation
from ftctl.contract.status import Status
from ftctl.storage.markers import download_folder
from ftctl.storage.tombstones import write_tombstone
from tests.event_files import scalars
from tests.integration.method_runs import DROPOUT
from tests.integration.tiny_model import action_rows
from tests.integration.tiny_run import TinyRun

ADAPTER = "adapter/adapter_model.safetensors"


@pytest.fixture(scope="session")
def finished(model: Path, tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """A run trained to its end without a break; about ten seconds."""
    return TinyRun(tmp_path_factory.mktemp("finished"), model, DROPOUT).write().trained()


def test_a_finished_run_leaves_adapter_reference_evaluation_and_a_complete_account(
    finished: TinyRun, tmp_path: Path
) -> None:
    files = download_folder(finished.store, finished.layout.adapter, tmp_path).files
    assert {file.name for file in files} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "chat_template.jinja",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    config = json.loads(finished.read("adapter/adapter_config.json"))
    assert (config["base_model_name_or_path"], config["r"]) == ("tiny", 4)
    steps = [(line["step"], "loss" in line) for line in finished.lines("metrics.jsonl")]
    train, held_out = [2, 4, 6, 8, 10, 12], [6, 12]
    assert sorted(step for step, is_loss in steps if is_loss) == train
    assert [step for step, is_loss in steps if not is_loss] == held_out
    kinds = [line["kind"] for line in finished.lines("events.jsonl")]
    assert kinds[0] == "started"
    assert kinds.count("checkpoint") == 3
    status = Status.model_validate_json(finished.read("status.json"))
    assert (status.step, status.total_steps, status.phase) == (12, 12, "train done")


def test_the_loss_falls_and_both_evaluations_are_kept(finished: TinyRun) -> None:
    evaluation = Evaluation.model_validate_json(finished.read("eval.json"))
    assert evaluation.before is not None
    assert evaluation.after is not None
    assert evaluation.before.rows == evaluation.after.rows == 4
    assert evaluation.after.loss < evaluation.before.loss - 0.3  # type: ignore[operator]
    assert len(evaluation.samples) == 4
    assert all(sample.after is not None for sample in evaluation.samples)


def test_the_reference_holds_log_probabilities_of_whole_answers(
    finished: TinyRun, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    download_folder(finished.store, finished.layout.reference, tmp_path)
    text = json.loads((tmp_path / "reference.json").read_text())
    tensors = load_file(tmp_path / "reference.safetensors")
    labels = [
        token for row in text["sequences"] for token in row["input_ids"][row["first_label"] :]
    ]
    assert tensors["label"].tolist() == labels
    assert len(labels) >= 32
    assert tensors["top_logprobs"].shape == tensors["base_top_logprobs"].shape == (len(labels), 16)
    assert (tensors["top_logprobs"].exp().sum(1) <= 1.0001).all()
    assert (tensors["label_logprob"] > tensors["base_label_logprob"]).float().mean() > 0.7
    assert {"probe", "chat", "sample", "merge_base"} <= set(text)


def test_a_run_that_is_done_ends_at_once(finished: TinyRun) -> None:
    before = finished.read("events.jsonl")
    code, lines = finished.train_now()
    assert code == 0
    assert "nothing to do" in lines[-1]["message"]
    assert finished.read("events.jsonl") == before


def test_equal_runs_give_equal_bytes_and_another_seed_gives_others(
    finished: TinyRun, model: Path, tmp_path: Path
) -> None:
    again = TinyRun(tmp_path / "again", model, DROPOUT).write()
    other = TinyRun(tmp_path / "other", model, {**DROPOUT, "training": {"seed": 7}}).write()
    assert again.train_now()[0] == other.train_now()[0] == 0
    assert again.read(ADAPTER) == finished.read(ADAPTER)
    assert again.read("adapter/adapter_config.json") == finished.read("adapter/adapter_config.json")
    assert other.read(ADAPTER) != finished.read(ADAPTER)


def test_a_killed_run_resumes_at_its_checkpoint_and_ends_in_the_same_bytes(
    finished: TinyRun, model: Path, tmp_path: Path
) -> None:
    run = TinyRun(tmp_path, model, DROPOUT).write()
    code, _ = run.interrupt_at(4, signal.SIGKILL)
    assert code == -signal.SIGKILL
    run.expire_lease()
    code, lines = run.train_now()
    assert code == 0, lines
    assert run.read(ADAPTER) == finished.read(ADAPTER)
    [resumed] = [line for line in run.lines("events.jsonl") if line["kind"] == "resumed"]
    assert resumed["data"]["step"] in (4, 8)
    assert run.metrics() == finished.metrics()


def test_sigterm_saves_a_checkpoint_exits_75_and_resumes_in_the_middle_of_an_epoch(
    finished: TinyRun, model: Path, tmp_path: Path
) -> None:
    run = TinyRun(tmp_path, model, {**DROPOUT, "tracking": {"backend": "tensorboard"}}).write()
    code, lines = run.interrupt_at(4, signal.SIGTERM)
    assert code == 75, lines
    assert Status.model_validate_json(run.read("status.json")).state == "stopped"
    code, lines = run.train_now()
    assert code == 0, lines
    assert run.read(ADAPTER) == finished.read(ADAPTER)
    assert run.metrics() == finished.metrics()
    curves = scalars(run.store.read(run.layout.tensorboard), tmp_path / "board")
    lines = [line for line in run.lines("metrics.jsonl") if "loss" in line]
    steps, losses = zip(*curves["train/loss"], strict=True)
    assert list(steps) == [line["step"] for line in lines]
    assert losses == pytest.approx([line["loss"] for line in lines])
    assert [step for step, _ in curves["eval/right_action"]] == [0, 12]


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint_before(
    model: Path, tmp_path: Path
) -> None:
    poisoned = _with_a_poisoned_token(model, tmp_path / "model", "€")
    rows = action_rows(24)
    rows[20]["prompt"]["user_input"] = "€"  # type: ignore[index]
    settings: dict[str, dict[str, Any]] = {
        "dataset": {"shuffle": False},
        "training": {"save_steps": 2, "eval_steps": 50},
        "testing": {"test": False},
    }
    run = TinyRun(tmp_path / "run", poisoned, settings, train=list(rows)).write()
    code, lines = run.train_now()
    assert code == 7, lines
    assert "diverged: the loss is nan at step 6" in lines[-1]["message"]
    assert "lower learning rate" in lines[-1]["message"]
    assert run.store.stat(f"{run.layout.checkpoint(4)}_COMPLETE") is not None
    assert run.store.stat(f"{run.layout.checkpoint(6)}_COMPLETE") is None
    status = Status.model_validate_json(run.read("status.json"))
    assert status.state == "failed"
    assert run.store.stat(run.layout.failed) is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param(
            {"model": {"lora_target_modules": ["q_proj", "up_projj"]}},
            "model.lora_target_modules: the model has no layer 'up_projj'",
            id="target-module-typo",
        ),
        pytest.param(
            {"training": {"max_seq_length": 40}},
            "training.max_seq_length: 40 tokens cut off the whole answer of 24 rows",
            id="answers-cut-off",
        ),
        pytest.param(
            {"training": {"compute": "fp8"}},
            "training.compute: fp8 is not available here",
            id="format-the-machine-lacks",
        ),
    ],
)
def test_what_the_same_inputs_would_meet_again_fails_the_run_for_good(
    model: Path, tmp_path: Path, settings: dict[str, dict[str, Any]], message: str
) -> None:
    run = TinyRun(tmp_path, model, settings).write()
    code, lines = run.train_now()
    assert code == 3
    assert message in lines[-1]["message"]
    status = Status.model_validate_json(run.read("status.json"))
    assert (status.state, message in (status.error or "")) == ("failed", True)
    assert run.store.stat(run.layout.failed) is not None
    code, lines = run.train_now()
    assert (code, "the run is failed" in lines[-1]["message"]) == (3, True)


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    run = TinyRun(tmp_path, tmp_path / "absent").write()
    code, lines = run.train_now()
    assert code == 3
    assert f"there is no model at '{tmp_path / 'absent'}'" in lines[-1]["message"]


def test_a_model_that_changed_since_submission_is_refused(model: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "model"
    shutil.copytree(model, copy)
    run = TinyRun(tmp_path / "run", copy).write()
    (copy / "generation_config.json").write_text("{}")
    code, lines = run.train_now()
    assert code == 3
    assert "the model changed: its sha256 is" in lines[-1]["message"]


def test_a_cancelled_run_ends_at_once(model: Path, tmp_path: Path) -> None:
    run = TinyRun(tmp_path, model).write()
    write_tombstone(run.store, run.layout, "cancelled", "no longer wanted")
    code, lines = run.train_now()
    assert code == 3
    assert "the run is cancelled: no longer wanted" in lines[-1]["message"]
    assert run.store.stat(run.layout.status) is None


def test_trains_a_head_whole_and_publishes_the_best_step(model: Path, tmp_path: Path) -> None:
    settings: dict[str, dict[str, Any]] = {
        "model": {"modules_to_save": ["lm_head"], "torch_dtype": "float32"},
        "training": {"load_best": True, "eval_steps": 4, "save_total_limit": 1},
    }
    run = TinyRun(tmp_path, model, settings).write()
    code, lines = run.train_now()
    assert code == 0, lines
    assert any("whose held-out loss is lowest" in line["message"] for line in lines)
    from safetensors.torch import load

    weights = load(run.read(ADAPTER))
    assert "base_model.model.lm_head.weight" in weights
    assert {str(weight.dtype) for weight in weights.values()} == {"torch.float32"}


def test_a_head_that_is_trained_takes_what_a_base_of_16_bits_makes(
    model: Path, tmp_path: Path
) -> None:
    """The head is float32, and on a CPU no autocast makes its input so."""
    settings: dict[str, dict[str, Any]] = {
        "model": {"modules_to_save": ["lm_head"], "torch_dtype": "bfloat16"},
        "training": {"max_steps": 2, "save_steps": 2, "eval_steps": 2},
    }
    run = TinyRun(tmp_path, model, settings).write()
    code, lines = run.train_now()

    assert code == 0, lines
    found = Evaluation.model_validate_json(run.read("eval.json"))
    assert found.before is not None
    assert found.after is not None
    assert found.after.loss < found.before.loss  # type: ignore[operator]


def test_an_unreadable_run_file_is_a_config_error(tmp_path: Path) -> None:
    run = TinyRun(tmp_path, tmp_path)
    run.file.write_text("run_id: [")
    code, lines = run.train_now()
    assert code == 3
    assert "is no YAML" in lines[-1]["message"]


def test_a_second_process_waits_for_the_first_and_finds_nothing_left_to_do(
    model: Path, tmp_path: Path
) -> None:
    run = TinyRun(tmp_path, model).write()
    first, second = run.start(), run.start()
    ends = [run.finish(first), run.finish(second)]
    assert [code for code, _ in ends] == [0, 0], ends
    said = [" ".join(line["message"] for line in lines) for _, lines in ends]
    [waited] = [text for text in said if "waiting: " in text]
    assert "nothing to do" in waited
    kinds = [line["kind"] for line in run.lines("events.jsonl")]
    assert (kinds.count("started"), kinds.count("published")) == (1, 2)
    assert not [line for _, lines in ends for line in lines if "not_json" in line]


def _with_a_poisoned_token(model: Path, folder: Path, text: str) -> Path:
    """A copy whose embedding of the text's first token is no number."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    copy = AutoModelForCausalLM.from_pretrained(model)
    with torch.no_grad():
        token = tokenizer(text)["input_ids"][0]
        embedding = copy.get_input_embeddings().weight
        copy.lm_head.weight = torch.nn.Parameter(embedding.detach().clone())
        embedding[token] = float("nan")
    copy.config.tie_word_embeddings = False
    copy.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
