"""
The train stage against plain TRL and PEFT: same rows, same seed, the loss of every step.

The other side is plain_trl.py, in a process of its own: it loads the base in NF4, and TRL tokenizes
the texts, finds the labels, draws LoRA's weights and the order of the rows by itself.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ftctl.contract.runfile import RunFile
from ftctl.data.digest import pull_split
from ftctl.data.example import Example
from ftctl.data.parts import answer_text
from ftctl_trainer.data.template import PromptTemplate, prompt_messages
from tests.integration import plain_trl
from tests.integration.tiny_model import IM_END, make_tiny_model
from tests.integration.tiny_run import TinyRun

SETTINGS: dict[str, dict[str, Any]] = {
    # No dropout: our rows end with the template's line break, which TRL leaves out, and masks of
    # another length are other masks.
    "model": {"lora_dropout": 0.0},
    # Two passes over 24 rows: the order of a second epoch is compared, too.
    "training": {
        "compute": "fp32",
        "logging_steps": 1,
        "num_train_epochs": 2,
        "max_steps": -1,
        "seed": 7,
    },
    "testing": {"test": False},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """The train stage's run; about ten seconds."""
    model = make_tiny_model(tmp_path_factory.mktemp("model"))
    return TinyRun(tmp_path_factory.mktemp("run"), model, SETTINGS).write().trained()


def test_every_loss_in_float32_is_that_of_plain_trl(run: TinyRun, tmp_path: Path) -> None:
    # TRL rounds the adapter of a quantized model to bfloat16, which is another training. So it
    # gets the same NF4 weights as float32 numbers. What is left is the order of sums: our head
    # scores the labels alone, and LoRA is added in another order. 2e-7 is what was seen.
    theirs = _theirs(run, tmp_path, dequantized=True)
    assert _ours(run) == pytest.approx(theirs, rel=1e-5, abs=0)


def test_every_loss_over_nf4_is_that_of_plain_trl_within_its_rounding(
    run: TinyRun, tmp_path: Path
) -> None:
    theirs = _theirs(run, tmp_path, dequantized=False)
    # bfloat16 keeps 8 bits of each of TRL's adapter weights after every step. 1.2e-4 was seen.
    assert _ours(run) == pytest.approx(theirs, rel=1e-3, abs=0)


def _ours(run: TinyRun) -> list[float]:
    return [line["loss"] for line in run.metrics() if "loss" in line]


def _theirs(run: TinyRun, folder: Path, *, dequantized: bool) -> list[float]:
    file = folder / "plain.json"
    settings = {**_settings_of(run), "dequantized": dequantized, "output_dir": str(folder / "trl")}
    file.write_text(json.dumps(settings), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, plain_trl.__file__, str(file)],
        env=run.surroundings(), capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    losses: list[float] = json.loads(done.stdout.splitlines()[-1])
    assert len(losses) == 12
    return losses


def _settings_of(run: TinyRun) -> dict[str, Any]:
    """What a script for the same training would say, in TRL's and PEFT's words."""
    file = RunFile.model_validate(yaml.safe_load(run.file.read_text(encoding="utf-8")))
    model, training = file.config.model, file.config.training
    names = (
        "per_device_train_batch_size",
        "gradient_accumulation_steps",
        "learning_rate",
        "lr_scheduler_type",
        "num_train_epochs",
        "max_steps",
        "warmup_steps",
        "weight_decay",
        "max_grad_norm",
        "seed",
    )
    return {
        "base": str(run.model),
        "rows": [
            _texts(row, file.template) for row in pull_split(run.store, file.data.digest, "train")
        ],
        "training": {
            **{name: getattr(training, name) for name in names},
            "data_seed": training.seed,
            "max_length": training.max_seq_length,
            "optim": "adamw_torch",
        },
        "lora": {
            "r": model.lora_r,
            "lora_alpha": model.lora_alpha,
            "lora_dropout": model.lora_dropout,
            "target_modules": model.lora_target_modules,
        },
    }


def _texts(row: Example, template: str) -> dict[str, str]:
    """The row in ChatML, as the tiny model's chat template writes it."""
    turns = prompt_messages(row, PromptTemplate(template))
    before = "".join(f"<|im_start|>{turn.role}\n{turn.content}{IM_END}\n" for turn in turns)
    return {
        "prompt": f"{before}<|im_start|>assistant\n",
        "completion": f"{answer_text(row)}{IM_END}",
    }
