"""Supervised fine-tuning by TRL."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from trl import SFTConfig, SFTTrainer

from ftctl.contract.spec import TrainingConfig
from ftctl.estimate.steps import steps_of
from ftctl_trainer.data.collator import Collator, EndToEndCollator
from ftctl_trainer.data.packing import packed
from ftctl_trainer.data.tokenize import TokenizedRows
from ftctl_trainer.methods.method import Told, dataset
from ftctl_trainer.methods.progress import Progress
from ftctl_trainer.model.attention import lays_end_to_end
from ftctl_trainer.model.labels import label_loss_sum, mean_label_loss

Row = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Sft:
    """Learning the rows' answers; `rows` are sequences of one row, or of several packed ones."""

    training: TrainingConfig
    rows: Sequence[Row]
    held_out: Sequence[Row]
    tokenizer: Any

    @property
    def lengths(self) -> list[int]:
        """Tokens of every sequence."""
        return [len(row["input_ids"]) for row in self.rows]

    @property
    def batch_rows(self) -> int:
        """Sequences of a forward pass."""
        return self.training.per_device_train_batch_size

    @property
    def evaluates(self) -> bool:
        """Whether there are held-out rows."""
        return bool(self.held_out)

    def steps(self, world: int) -> int:
        """Optimizer steps on `world` devices."""
        return steps_of(self.training, len(self.rows), world=world)

    def trainer(self, model: Any, arguments: dict[str, Any], progress: Progress) -> Any:
        """Build the trainer over the tokenized rows."""
        pads = Collator(self.tokenizer.pad_token_id)
        trainer = LabelLossTrainer(
            model=model,
            args=SFTConfig(
                **arguments, dataset_kwargs={"skip_prepare_dataset": True}, max_length=None
            ),
            train_dataset=dataset(self.rows),
            eval_dataset=dataset(self.held_out) if self.held_out else None,
            data_collator=(
                EndToEndCollator() if self.training.packing and lays_end_to_end(model) else pads
            ),
            processing_class=self.tokenizer,
            callbacks=[progress],
        )
        trainer.progress, trainer.look = (
            progress,
            lambda: {"loss": self._held_out_loss(model, pads)},
        )
        # The loss is divided by the label tokens of the whole step in `compute_loss`.
        trainer.model_accepts_loss_kwargs = True
        return trainer

    def scores(self, model: Any, *, trained: bool) -> dict[str, float]:
        """Nothing more: the loss that is trained is measured of every run."""
        return {}

    def _held_out_loss(self, model: Any, collate: Callable[..., Any]) -> float:
        """Weighted by label tokens and not by batches."""
        return mean_label_loss(
            model,
            self.held_out,
            collate,
            batch_size=max(self.training.per_device_eval_batch_size, 8),
        )


def sft(training: TrainingConfig, train: TokenizedRows, held_out: TokenizedRows, tok: Any) -> Sft:
    """Make the method of its rows, which training.packing packs."""
    rows: list[Any] = [train[number] for number in range(len(train))]
    if training.packing:
        rows = list(packed(rows, training.max_seq_length, training.seed))
    return Sft(training, rows, [held_out[number] for number in range(len(held_out))], tok)


class LabelLossTrainer(Told, SFTTrainer):  # type: ignore[misc]
    """Loss a label token over the whole accumulated step, counted; held-out loss by tokens."""

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Return a forward pass's share of the step's mean loss, nats a label token."""
        real_tokens = inputs.pop("real_tokens").sum()
        if self.args.device.type == "cpu":
            # TRL's chunked head scores every position where there is no Triton.
            count = torch.as_tensor(num_items_in_batch).clamp(min=1)
            loss = label_loss_sum(model, inputs) / count
        else:
            loss = super().compute_loss(model, inputs, False, num_items_in_batch)
        self.progress.add(loss.detach(), real_tokens)
        return loss
