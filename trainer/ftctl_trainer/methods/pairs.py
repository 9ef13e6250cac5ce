"""What methods share that learn from pairs of a better and a worse answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from trl import DPOConfig, DPOTrainer

from ftctl.contract.spec import TrainingConfig
from ftctl_trainer.data.collator import Collator
from ftctl_trainer.data.pairs import Pair
from ftctl_trainer.methods.method import OverRows, Told, dataset
from ftctl_trainer.methods.progress import Progress
from ftctl_trainer.model.labels import held_out_log_probs

_MEASURED_ROWS = 16


class PairTrainer(Told, DPOTrainer):  # type: ignore[misc]
    """TRL's trainer of pairs; held-out pairs are all weighted alike."""

    def _prepare_dataset(self, dataset: Any, *args: Any, **options: Any) -> Any:
        """Rows come tokenized, by the same code as those of every other method."""
        return dataset


@dataclass(frozen=True)
class Pairs(OverRows):
    """A method of two answers to a prompt, without its loss."""

    training: TrainingConfig
    beta: float
    pairs: Sequence[Pair]
    held_out: Sequence[Pair]
    tokenizer: Any

    @property
    def lengths(self) -> list[int]:
        """Tokens of the longer conversation of every pair."""
        return [pair.length for pair in self.pairs]

    def batch_rows(self, world: int) -> int:
        """Both answers of a pair go through the model."""
        return 2 * super().batch_rows(world)

    def pass_lengths(self, world: int) -> list[int]:
        """Tokens of both answers of the pairs that have most."""
        both = [(len(it.chosen.input_ids), len(it.rejected.input_ids)) for it in self.pairs]
        largest = sorted(both, key=sum)[-super().batch_rows(world) :]
        return [length for pair in largest for length in pair]

    def pair_trainer(
        self,
        kind: type[PairTrainer],
        model: Any,
        arguments: dict[str, Any],
        progress: Progress,
        look: Callable[[], Mapping[str, float]],
    ) -> Any:
        """Build the trainer over the tokenized pairs."""
        trainer = kind(
            model=model,
            args=DPOConfig(**arguments, beta=self.beta, max_length=None),
            train_dataset=dataset([pair.row() for pair in self.pairs]),
            eval_dataset=dataset([pair.row() for pair in self.held_out]) if self.held_out else None,
            processing_class=self.tokenizer,
            callbacks=[progress],
        )
        trainer.progress, trainer.look = progress, look
        return trainer

    def log_probs(self, model: Any) -> tuple[Tensor, Tensor]:
        """Log p of the held-out chosen and of the rejected answers, nats, [pairs] each."""
        both = [pair.chosen for pair in self.held_out] + [pair.rejected for pair in self.held_out]
        found = held_out_log_probs(
            model,
            [vars(encoded) for encoded in both],
            Collator(self.tokenizer.pad_token_id),
            batch_size=_MEASURED_ROWS,
        )
        chosen, rejected = found.chunk(2)
        return chosen, rejected


def share(values: Tensor) -> float:
    """The mean of what is true or false."""
    return float(values.float().mean())
