"""The rows of an optimizer step in as few passes as they fit into: the same training."""

from __future__ import annotations

import shutil
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import torch

from ftctl.contract.spec import TrainingConfig
from ftctl_trainer.data.collator import StepCollator
from ftctl_trainer.data.packing import packed
from ftctl_trainer.methods.arguments import common_arguments
from ftctl_trainer.methods.progress import Counters, Progress
from ftctl_trainer.methods.sft import Sft
from ftctl_trainer.methods.training import _built
from ftctl_trainer.model.fast.install import install
from ftctl_trainer.model.load import load_tokenizer
from ftctl_trainer.model.lora import trainable
from ftctl_trainer.model.precision import Precision
from tests.integration.tuned_model import tuned

# Ten rows are two whole steps and a half; the first two do not fit into a pass together.
LENGTHS = (20, 23, 11, 7, 20, 3, 9, 14, 6, 30)
MOST = 32


@pytest.fixture
def folder(folders: dict[str, Path]) -> Path:
    """The model's folder."""
    return folders["llama"]


def rows() -> list[dict[str, list[int]]]:
    """Rows of random tokens; how much of them carries a loss differs."""
    generator = torch.Generator().manual_seed(5)
    found = []
    for number, length in enumerate(LENGTHS):
        ids = torch.randint(3, 380, (length,), generator=generator).tolist()
        start = length * (number % 3) // 3
        found.append({"input_ids": ids, "labels": [-100] * start + ids[start:]})
    return found


class Kept:
    """Stands for the store: keeps the lines of metrics and the folders of checkpoints."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines: list[tuple[int, float, int]] = []

    def metrics(self, line: Any) -> None:
        self.lines.append((line.step, line.loss, line.real_tokens))

    def progress(self, step: int, total: int) -> None:
        pass

    def raise_failure(self) -> None:
        pass

    def save(self, step: int, folder: Path, *, keep: int | None) -> None:
        shutil.copytree(folder, self.folder / str(step))


def train(
    folder: Path,
    work: Path,
    dropout: float = 0.0,
    start: Path | None = None,
    noise: float = 0.0,
) -> Any:
    """Train two epochs of three steps each; return passes, lines of metrics and weights."""
    model = tuned(folder, dropout=dropout)
    install(model)
    training = TrainingConfig(
        num_train_epochs=2, logging_steps=1, save_steps=2, learning_rate=1e-2, warmup_steps=0,
        max_seq_length=MOST, neftune_noise_alpha=noise,
    )  # fmt: skip
    kept = Kept(work)
    counters = Counters() if start is None else Counters.read(start)
    progress = Progress(kept, kept, Event(), counters)  # type: ignore[arg-type]
    arguments = common_arguments(
        training, precision=Precision("float32", None), shuffle=True, evaluates=False,
        recomputes=False, output_dir=work / "training",
    )  # fmt: skip
    made = Sft(training, rows(), [], load_tokenizer(folder))
    trainer = _built(model, lambda: made.trainer(model, arguments, progress))
    passes: list[int] = []

    def counted(inner: Any, batch: Any, *rest: Any, **more: Any) -> Any:
        passes.append(int(batch["real_tokens"]))
        return plain(inner, batch, *rest, **more)

    plain, trainer.compute_loss = trainer.compute_loss, counted
    trainer.train(resume_from_checkpoint=None if start is None else str(start))
    weights = {name: weight.detach().clone() for name, weight in trainable(model).items()}
    return passes, kept.lines, weights


def test_steps_of_joined_rows_are_those_of_rows_alone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined_passes, joined_lines, joined = train(folder, tmp_path / "joined")
    monkeypatch.setattr(Sft, "_joins_steps", False)
    passes, lines, weights = train(folder, tmp_path / "alone")

    assert sorted(passes) == sorted(2 * LENGTHS)
    assert len(joined_passes) < len(passes) - 4
    assert max(joined_passes) <= MOST
    assert len(lines) == 6
    for found, expected in zip(joined_lines, lines, strict=True):
        assert (found[0], found[2]) == (expected[0], expected[2])
        assert found[1] == pytest.approx(expected[1], rel=2e-5)
    for name, weight in joined.items():
        torch.testing.assert_close(weight, weights[name], rtol=1e-3, atol=2e-5)


def test_a_training_of_joined_rows_goes_on_to_the_same_bits(folder: Path, tmp_path: Path) -> None:
    _, lines, whole = train(folder, tmp_path / "whole", dropout=0.2)
    _, rest, weights = train(
        folder, tmp_path / "again", dropout=0.2, start=tmp_path / "whole" / "2"
    )

    assert rest == lines[2:]
    assert all(torch.equal(weight, weights[name]) for name, weight in whole.items())


def test_noise_that_is_by_the_tokens_of_a_pass_keeps_rows_apart(
    folder: Path, tmp_path: Path
) -> None:
    passes, _, _ = train(folder, tmp_path, noise=5.0)
    assert sorted(passes) == sorted(2 * LENGTHS)
    training = TrainingConfig(max_seq_length=MOST, neftune_noise_alpha=5)
    assert Sft(training, rows(), [], None).pass_tokens(1) == 30
    assert Sft(TrainingConfig(max_seq_length=MOST), rows(), [], None).pass_tokens(1) == MOST
    assert Sft(TrainingConfig(max_seq_length=200), rows(), [], None).pass_tokens(1) == 93


def test_the_rows_of_a_large_pass_are_the_longest_that_fit_into_it() -> None:
    made = [Sft(TrainingConfig(max_seq_length=most), rows(), [], None) for most in (200, MOST)]
    assert [found.pass_lengths(1) for found in made] == [[30, 23, 20, 20], [30]]
    sequences = packed(rows(), 60, 0)
    [whole] = [Sft(TrainingConfig(max_seq_length=60, packing=True), sequences, [], None)]
    assert sum(whole.pass_lengths(1)) == whole.pass_tokens(1)
    assert set(whole.pass_lengths(1)) < set(LENGTHS)


def test_passes_hold_every_row_once_and_no_more_than_they_may() -> None:
    batch = StepCollator(MOST)(rows()[:4])

    # The last row of each only fills it up.
    lengths = [part["row_lengths"] for part in batch["passes"]]
    assert sorted(length for part in lengths for length in part[:-1]) == [7, 11, 20, 23]
    assert [sum(part) for part in lengths] == [128, 128]
    assert [int(part["real_tokens"]) for part in batch["passes"]] == [31, 30]
    assert all(part["position_ids"][0, -part["row_lengths"][-1]] == 0 for part in batch["passes"])
    labels = sum(len(part["targets"]) for part in batch["passes"])
    assert int((batch["labels"] != -100).sum()) == labels
