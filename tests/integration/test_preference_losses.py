"""The losses of DPO, ORPO and KTO: against TRL's own formulas, and trained against measured."""

from __future__ import annotations

import warnings
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ftctl.contract.spec import KtoConfig, TrainingConfig
from ftctl.data.example import Example
from ftctl.data.single import single_answers
from ftctl_trainer.data.answers import tokenize_answers
from ftctl_trainer.data.pairs import tokenize_pairs
from ftctl_trainer.data.template import PromptTemplate
from ftctl_trainer.methods.arguments import common_arguments
from ftctl_trainer.methods.dpo import Dpo
from ftctl_trainer.methods.kto import Kto, MismatchingCollator, mismatched
from ftctl_trainer.methods.orpo import Orpo, odds_ratio_loss
from ftctl_trainer.methods.progress import Counters, Progress
from ftctl_trainer.model.load import load_quantized, load_tokenizer
from ftctl_trainer.model.lora import add_lora, trainable
from ftctl_trainer.model.precision import Precision
from tests.integration.method_runs import pairs
from tests.integration.tiny_run import TEMPLATE

LAYOUT = PromptTemplate(TEMPLATE)
ROWS = [Example.model_validate(row) for row in pairs(6)]


@pytest.mark.parametrize("method", ["dpo", "orpo", "kto"])
def test_what_is_measured_on_held_out_rows_is_what_is_trained(
    method: str, model: Path, tmp_path: Path
) -> None:
    training = TrainingConfig(method=method, per_device_train_batch_size=8)
    made = _method(training, load_tokenizer(model))
    tuned = _tuned(model)
    trainer = made.trainer(tuned, _arguments(training, tmp_path), _progress())
    batch = trainer.data_collator(list(trainer.eval_dataset))
    tuned.train()
    trainer.current_gradient_accumulation_steps = 1
    trained = trainer.compute_loss(tuned, dict(batch))
    assert trained.requires_grad
    measured = made._measures(tuned)
    assert trained.item() == pytest.approx(measured["loss"], rel=1e-5)
    counted = trainer.progress.counters.sums
    assert counted["reward_margin"] == pytest.approx(measured["reward_margin"], rel=1e-4)
    if method != "kto":
        assert counted["preference_accuracy"] == measured["preference_accuracy"]


def test_the_odds_ratio_is_that_of_trl() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from trl.experimental.orpo import ORPOTrainer
    chosen = torch.tensor([-0.01, -1.0, -3.0, -9.0])
    rejected = torch.tensor([-2.0, -0.5, -3.0, -0.001])
    trl = SimpleNamespace(beta=0.3, accelerator=SimpleNamespace(device="cpu"))
    losses, *_ = ORPOTrainer.odds_ratio_loss(trl, chosen, rejected)
    want = -chosen.mean() - losses.mean()
    torch.testing.assert_close(odds_ratio_loss(chosen, rejected, 0.3), want)


@pytest.mark.parametrize("certain", [0.0, -1e-9, -200.0])
def test_certain_and_impossible_answers_have_a_finite_loss_and_gradient(certain: float) -> None:
    chosen = torch.tensor([certain], requires_grad=True)
    rejected = torch.tensor([-1.0], requires_grad=True)
    loss = odds_ratio_loss(chosen, rejected, 0.1) + odds_ratio_loss(rejected, chosen, 0.1)
    torch.autograd.backward(loss)
    assert torch.isfinite(loss)
    for answers in (chosen, rejected):
        assert answers.grad is not None
        assert torch.isfinite(answers.grad).all()


def test_each_prompt_meets_the_answer_of_the_row_before(model: Path) -> None:
    tokenizer = load_tokenizer(model)
    answers = tokenize_answers(single_answers(ROWS), tokenizer, LAYOUT, max_length=256)
    rows = [answer.row() for answer in answers]
    found = mismatched([answer.encoded for answer in answers], 256)
    batch = MismatchingCollator(tokenizer.pad_token_id, 256)(rows)
    for number, row in enumerate(found):
        want = rows[number]["prompt_ids"] + rows[number - 1]["completion_ids"]
        assert row.input_ids == want
        assert batch["KL_input_ids"][number, : len(want)].tolist() == want
        assert [label for label in row.labels if label >= 0] == rows[number - 1]["completion_ids"]
    # Neighbours of split pairs answer different prompts.
    assert all(rows[n]["prompt_ids"] != rows[n - 1]["prompt_ids"] for n in range(len(rows)))


def _method(training: TrainingConfig, tokenizer: Any) -> Any:
    if training.method == "kto":
        settings = KtoConfig(beta=2.0, desirable_weight=1.5, undesirable_weight=0.5)
        answers = tokenize_answers(single_answers(ROWS), tokenizer, LAYOUT, max_length=256)
        return Kto(training, settings, answers, answers, tokenizer)
    rows = tokenize_pairs(ROWS, tokenizer, LAYOUT, max_length=256)
    kind = Dpo if training.method == "dpo" else Orpo
    return kind(training, 0.3, rows, rows, tokenizer)


def _tuned(folder: Path) -> Any:
    model = add_lora(
        load_quantized(folder, dtype="float32", use_8bit=False),
        rank=4, alpha=8, dropout=0.0, target_modules=["q_proj", "up_proj"], modules_to_save=[],
        seed=1,
    )  # fmt: skip
    for weight in trainable(model).values():
        torch.nn.init.normal_(weight, std=0.2)
    return model


def _arguments(training: TrainingConfig, folder: Path) -> dict[str, Any]:
    return common_arguments(
        training,
        precision=Precision("float32", None),
        shuffle=True,
        evaluates=True,
        recomputes=False,
        output_dir=folder,
    )


def _progress() -> Progress:
    return Progress(None, None, Event(), Counters())  # type: ignore[arg-type]
