"""Supervised fine-tuning by TRL. All that alters its trainer is handed over here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from trl import SFTConfig, SFTTrainer

from ftctl.contract.spec import TrainingConfig
from ftctl_trainer.methods.progress import Progress, timed
from ftctl_trainer.model.labels import label_loss_sum, mean_label_loss
from ftctl_trainer.model.lora import trainable
from ftctl_trainer.model.precision import Precision

_log = logging.getLogger(__name__)

Row = Mapping[str, Sequence[int]]
Collate = Callable[[list[Row]], Mapping[str, torch.Tensor]]


def sft_arguments(
    training: TrainingConfig,
    *,
    precision: Precision,
    shuffle: bool,
    evaluates: bool,
    recomputes: bool,
    output_dir: Path,
) -> SFTConfig:
    """TRL's arguments from ours: the one place where both names stand."""
    on_cpu = not torch.cuda.is_available()
    return SFTConfig(
        output_dir=str(output_dir),
        per_device_train_batch_size=training.per_device_train_batch_size,
        per_device_eval_batch_size=training.per_device_eval_batch_size,
        gradient_accumulation_steps=training.gradient_accumulation_steps,
        learning_rate=training.learning_rate,
        lr_scheduler_type=training.lr_scheduler_type,
        num_train_epochs=training.num_train_epochs,
        max_steps=training.max_steps,
        warmup_steps=training.warmup_steps,
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        optim=_optimizer(training.optim, on_cpu=on_cpu),
        neftune_noise_alpha=training.neftune_noise_alpha or None,
        gradient_checkpointing=recomputes,
        fp16=precision.autocast == "fp16",
        bf16=precision.autocast == "bf16",
        use_cpu=on_cpu,
        seed=training.seed,
        data_seed=training.seed,
        train_sampling_strategy=_sampling(training.group_by_length, shuffle=shuffle),
        logging_strategy="steps",
        logging_steps=training.logging_steps,
        # The trainer's own filter would hide a loss that is no number.
        logging_nan_inf_filter=False,
        eval_strategy="steps" if evaluates else "no",
        eval_steps=training.eval_steps,
        save_strategy="steps",
        # The best step can be published only if it was saved.
        save_steps=training.eval_steps if training.load_best else training.save_steps,
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        remove_unused_columns=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=not on_cpu,
        disable_tqdm=True,
        report_to="none",
        log_level="error",
    )


def sft_trainer(
    model: Any,
    arguments: SFTConfig,
    *,
    rows: Sequence[Row],
    held_out: Sequence[Row],
    collate: Collate,
    tokenizer: Any,
    progress: Progress,
) -> LabelLossTrainer:
    """
    Build the trainer over tokenized rows.

    Args:
        rows, held_out: input_ids and labels a row, not padded.
        collate: pads rows into tensors.
    """
    from transformers import PrinterCallback

    before = {name: weight.data for name, weight in trainable(model).items()}
    trainer = LabelLossTrainer(
        model=model,
        args=arguments,
        train_dataset=_dataset(rows),
        eval_dataset=_dataset(held_out) if held_out else None,
        data_collator=collate,
        processing_class=tokenizer,
        callbacks=[progress],
    )
    trainer.remove_callback(PrinterCallback)
    # TRL rounds the trainable weights of a quantized model to bfloat16; small updates would be
    # lost in it, and the gradient scaler refuses them.
    for name, weight in trainable(model).items():
        weight.data = before[name]
    trainer.follow(progress, held_out, collate)
    return trainer


class LabelLossTrainer(SFTTrainer):  # type: ignore[misc]
    """Loss a label token over the whole accumulated step, counted; held-out loss by tokens."""

    control: Any
    _progress: Progress
    _held_out: Sequence[Row]
    _collate: Collate

    def follow(self, progress: Progress, held_out: Sequence[Row], collate: Collate) -> None:
        """Say whom to tell, and what is evaluated."""
        self._progress, self._held_out, self._collate = progress, held_out, collate
        # The loss is divided by the label tokens of the whole step in `compute_loss`.
        self.model_accepts_loss_kwargs = True

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Return a forward pass's share of the step's mean loss, nats a label token."""
        real_tokens = inputs["attention_mask"].sum()
        if self.args.device.type == "cpu":
            # TRL's chunked head scores every position where there is no Triton.
            count = torch.as_tensor(num_items_in_batch).clamp(min=1)
            loss = label_loss_sum(model, inputs) / count
        else:
            loss = super().compute_loss(model, inputs, False, num_items_in_batch)
        self._progress.add(loss.detach(), real_tokens)
        return loss

    def evaluate(self, *args: Any, **options: Any) -> dict[str, float]:
        """Held-out loss, weighted by label tokens and not by batches."""
        loss, seconds = timed(
            lambda: mean_label_loss(
                self.model,
                self._held_out,
                self._collate,
                batch_size=max(self.args.per_device_eval_batch_size, 8),
            )
        )
        self._progress.evaluated(self.state.global_step, round(self.state.epoch, 4), loss, seconds)
        metrics = {"eval_loss": loss}
        # Callbacks hear of it, or the evaluation is asked for again at the epoch's end.
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def create_model_card(self, *args: Any, **options: Any) -> None:
        """No card: a checkpoint is not for people."""


def _dataset(rows: Sequence[Row]) -> Any:
    """
    Rows as TRL wants them, under a fingerprint of our own, as nothing of them is cached on disk.

    The one that `datasets` 5 computes pickles pyarrow's types, which fails on Python 3.12.
    """
    from datasets import Dataset
    from datasets.table import InMemoryTable

    return Dataset(InMemoryTable.from_pylist([dict(row) for row in rows]), fingerprint="rows")


def _sampling(group_by_length: bool, *, shuffle: bool) -> str:
    if not shuffle:
        return "sequential"
    return "group_by_length" if group_by_length else "random"


def _optimizer(name: str, *, on_cpu: bool) -> str:
    if on_cpu and ("8bit" in name or "4bit" in name or name.startswith("paged")):
        _log.info("%s needs a GPU: AdamW in float32 (adamw_torch) takes its place", name)
        return "adamw_torch"
    return name
