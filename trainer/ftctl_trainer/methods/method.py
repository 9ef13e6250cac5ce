"""What a training method is to the loop in training.py, and what its trainers share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from transformers.trainer_pt_utils import LengthGroupedSampler

from ftctl.contract.batches import share_of
from ftctl.contract.spec import TrainingConfig
from ftctl.estimate.steps import steps_of
from ftctl_trainer.methods.progress import REFERENCE, Progress, timed
from ftctl_trainer.processes.rows import LengthOrder


class Method(Protocol):
    """One method over the rows of one run. A method is a file beside this one."""

    @property
    def lengths(self) -> Sequence[int]:
        """Tokens of every sequence that goes through the model."""

    def batch_rows(self, world: int) -> int:
        """Sequences of a forward pass on one of `world` devices."""

    def pass_tokens(self, world: int) -> int:
        """Tokens of the largest pass there may be on one of `world` devices, without padding."""

    def pass_lengths(self, world: int) -> Sequence[int]:
        """Tokens of every row of such a pass."""

    @property
    def evaluates(self) -> bool:
        """Whether there are held-out rows."""

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole training."""

    def trainer(self, model: Any, arguments: dict[str, Any], progress: Progress) -> Any:
        """
        Build TRL's trainer, which tells `progress` of every forward pass.

        Args:
            model: a PEFT model.
            arguments: what common_arguments gives.
        """

    def scores(self, model: Any, *, trained: bool) -> dict[str, float]:
        """
        What the held-out rows say of a model, besides what every run is scored by.

        Returns:
            Fields of contract.evaluation.Scores.
        """


class OverRows:
    """What methods have in common whose steps are passes over the rows."""

    training: TrainingConfig
    held_out: Sequence[Any]

    @property
    def lengths(self) -> Sequence[int]:
        """Tokens of every sequence that goes through the model."""
        raise NotImplementedError

    def batch_rows(self, world: int) -> int:
        """Sequences of a forward pass on one of `world` devices."""
        return share_of(self.training, world).rows

    def pass_tokens(self, world: int) -> int:
        """Tokens of the largest pass there may be on one of `world` devices, without padding."""
        return sum(self.pass_lengths(world))

    def pass_lengths(self, world: int) -> Sequence[int]:
        """Tokens of every row of such a pass."""
        return longest(self.lengths, self.batch_rows(world))

    @property
    def evaluates(self) -> bool:
        """Whether there are held-out rows."""
        return bool(self.held_out)

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole training."""
        return steps_of(self.training, len(self.lengths))


def longest(lengths: Sequence[int], rows: int) -> list[int]:
    """Lengths of so many rows, the longest last."""
    return sorted(lengths)[-rows:]


class Told:
    """What our subclasses of TRL's trainers share; among their bases it stands before TRL's."""

    args: Any
    model: Any
    optimizer: Any
    state: Any
    control: Any
    callback_handler: Any
    progress: Progress
    loraplus_ratio: float | None = None
    look: Callable[[], Mapping[str, float]]
    """Measures the model on the held-out rows; `loss`, or else `reward`, says what is best."""

    def evaluate(self, *args: Any, **options: Any) -> dict[str, float]:
        """Measure in our own way, and tell the callbacks."""
        measures, seconds = timed(lambda: self.progress.group.measured(self.look))
        self.progress.evaluated(
            self.state.global_step, round(self.state.epoch, 4), dict(measures), seconds
        )
        metrics = {f"eval_{name}": value for name, value in measures.items()}
        # Callbacks hear of it, or the evaluation is asked for again at the epoch's end.
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def _get_train_sampler(self, *args: Any, **options: Any) -> Any:
        """Rows by length come in an order that does not depend on the steps before."""
        sampler = super()._get_train_sampler(*args, **options)  # type: ignore[misc]
        if isinstance(sampler, LengthGroupedSampler):
            return LengthOrder(sampler.batch_size, sampler.lengths, self.args.data_seed)
        return sampler

    def create_optimizer(self, *args: Any, **options: Any) -> Any:
        """Give LoRA's B matrices a rate of their own where LoRA+ is asked for."""
        if self.loraplus_ratio is None:
            return super().create_optimizer(*args, **options)  # type: ignore[misc]
        from peft.optimizers import create_loraplus_optimizer
        from transformers import Trainer

        kind, settings = Trainer.get_optimizer_cls_and_kwargs(self.args, self.model)
        self.optimizer = create_loraplus_optimizer(
            self.model,
            kind,
            loraplus_lr_ratio=self.loraplus_ratio,
            loraplus_weight_decay=self.args.weight_decay,
            **settings,
        )
        return self.optimizer

    def create_model_card(self, *args: Any, **options: Any) -> None:
        """No card: a checkpoint is not for people."""


def drop_reference(model: Any) -> None:
    """
    Take the copy of an adapter away that nothing was trained into yet: the base is the reference.

    TRL reads it with the adapter switched off where there is no copy.
    """
    if REFERENCE in model.peft_config:
        model.delete_adapter(REFERENCE)


def reference_of(model: Any) -> str | None:
    """Name of the adapter that is the reference; None where the base is."""
    return REFERENCE if REFERENCE in model.peft_config else None


def dataset(rows: Sequence[Mapping[str, Any]]) -> Any:
    """
    Rows as TRL wants them, under a fingerprint of our own, as nothing of them is cached on disk.

    The one that `datasets` 5 computes pickles pyarrow's types, which fails on Python 3.12.
    """
    from datasets import Dataset
    from datasets.table import InMemoryTable

    return Dataset(InMemoryTable.from_pylist([dict(row) for row in rows]), fingerprint="rows")
