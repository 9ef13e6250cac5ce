"""Supervised fine-tuning by TRL."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from trl import SFTConfig, SFTTrainer

from ftctl.contract.batches import rows_of_step, share_of
from ftctl.contract.spec import TrainingConfig
from ftctl_trainer.data.collator import OWN_COLUMNS, Collator, EndToEndCollator, StepCollator
from ftctl_trainer.data.packing import lengths_within, packed
from ftctl_trainer.data.tokenize import TokenizedRows
from ftctl_trainer.methods.method import OverRows, Told, dataset, longest
from ftctl_trainer.methods.progress import Progress
from ftctl_trainer.model.attention import lays_end_to_end
from ftctl_trainer.model.fast.install import fast_model
from ftctl_trainer.model.labels import label_loss_sum, mean_label_loss
from ftctl_trainer.processes.rows import SharedBatches, SharedLoader, blank_row, epoch_order

Row = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Sft(OverRows):
    """Learning the rows' answers; `rows` are sequences of one row, or of several packed ones."""

    training: TrainingConfig
    rows: Sequence[Row]
    held_out: Sequence[Row]
    tokenizer: Any

    @property
    def lengths(self) -> list[int]:
        """Tokens of every sequence."""
        return [len(row["input_ids"]) for row in self.rows]

    def pass_tokens(self, world: int) -> int:
        """Tokens of the largest pass of the fast layers on one of `world` devices."""
        share = share_of(self.training, world)
        if not self._joins_steps:
            return sum(longest(self.lengths, share.rows))
        return min(self._most, sum(longest(self.lengths, share.rows * share.passes)))

    def pass_lengths(self, world: int) -> list[int]:
        """Tokens of every row of such a pass, also of those that are packed into one."""
        found: list[int] = []
        left = self.pass_tokens(world)
        for row in sorted(self.rows, key=lambda row: -len(row["input_ids"])):
            if len(row["input_ids"]) <= left:
                left -= len(row["input_ids"])
                found += lengths_within(row)
        return found

    def trainer(self, model: Any, arguments: dict[str, Any], progress: Progress) -> Any:
        """Build the trainer over the tokenized rows."""
        pads = Collator(self.tokenizer.pad_token_id)
        blank = [self._blank()] if progress.group.world > 1 else []
        collate: Any = pads
        if lays_end_to_end(model, packing=self.training.packing):
            collate = EndToEndCollator()
        if fast_model(model) is not None and self._joins_steps:
            arguments, collate = _whole_steps(arguments), StepCollator(self._most)
        trainer = LabelLossTrainer(
            model=model,
            args=SFTConfig(
                **arguments, dataset_kwargs={"skip_prepare_dataset": True}, max_length=None
            ),
            train_dataset=dataset([*self.rows, *blank]),
            eval_dataset=dataset(self.held_out) if self.held_out else None,
            data_collator=collate,
            processing_class=self.tokenizer,
            callbacks=[progress],
        )
        trainer.progress, trainer.look = (
            progress,
            lambda: {"loss": self._held_out_loss(model, pads)},
        )
        trainer.order = epoch_order(
            arguments["train_sampling_strategy"],
            self.lengths,
            rows_of_step=rows_of_step(self.training),
            seed=self.training.seed,
        )
        # The loss is divided by the label tokens of the whole step in `compute_loss`.
        trainer.model_accepts_loss_kwargs = True
        return trainer

    def scores(self, model: Any, *, trained: bool) -> dict[str, float]:
        """Nothing more: the loss that is trained is measured of every run."""
        return {}

    @property
    def _joins_steps(self) -> bool:
        """
        Whether rows of a step's passes go through fast layers together.

        Nothing is computed otherwise, but for NEFTune's noise, whose size is by a pass's tokens.
        """
        return not self.training.neftune_noise_alpha

    @property
    def _most(self) -> int:
        """Tokens that a pass may have by the configuration."""
        return self.training.per_device_train_batch_size * self.training.max_seq_length

    def _blank(self) -> Row:
        row = blank_row(self.tokenizer.pad_token_id)
        return {name: row[name] for name in self.rows[0]}

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


def _whole_steps(arguments: dict[str, Any]) -> dict[str, Any]:
    """The same arguments with all rows of a step in one batch."""
    rows, passes = "per_device_train_batch_size", "gradient_accumulation_steps"
    return arguments | {rows: arguments[rows] * arguments[passes], passes: 1}


class LabelLossTrainer(Told, SFTTrainer):  # type: ignore[misc]
    """
    Loss a label token over the whole accumulated step, counted; held-out loss by tokens.

    The step is that of all processes, which share its rows.
    """

    order: Any

    def get_train_dataloader(self) -> Any:
        """Several processes have a row more to fill the last step up with."""
        group = self.progress.group
        if group.world == 1:
            return super().get_train_dataloader()
        rows = self.args.per_device_train_batch_size
        batches = SharedBatches(self.order, rows, group, blank=len(self.order))
        return SharedLoader(
            self.train_dataset,
            batches,
            self.data_collator,
            pin=self.args.dataloader_pin_memory,
        )

    def _prepare_input(self, data: Any) -> Any:
        """Pinned batches, also those of SharedLoader, need not wait for the work before them."""
        if isinstance(data, torch.Tensor):
            return data.to(self.args.device, non_blocking=True)
        return super()._prepare_input(data)

    def training_step(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Take a batch's passes one after the other; return their loss together."""
        passes = inputs.get("passes", [inputs])
        losses = []
        for number, part in enumerate(passes, 1):
            # Several processes exchange gradients in the backward pass of the last.
            alone = nullcontext() if number == len(passes) else self.accelerator.no_sync(model)
            with alone:
                losses.append(super().training_step(model, part, num_items_in_batch))
        return torch.stack(losses).sum()

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Return a forward pass's share of the step's mean loss, nats a label token."""
        real_tokens = inputs.pop("real_tokens").sum()
        if self.args.device.type == "cpu" or fast_model(model) is not None:
            # TRL's chunked head scores every position where there is no Triton, and reads what it
            # counts from the device in every pass.
            count = torch.as_tensor(num_items_in_batch).clamp(min=1)
            # The processes' gradients are averaged, and the step's tokens are those of all.
            loss = label_loss_sum(model, inputs) * self.progress.group.world / count
        else:
            known = {name: part for name, part in inputs.items() if name not in OWN_COLUMNS}
            loss = super().compute_loss(model, known, False, num_items_in_batch)
        self.progress.add(loss.detach(), real_tokens)
        return loss
