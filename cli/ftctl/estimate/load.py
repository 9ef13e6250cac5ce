"""What goes through the model at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ftctl.contract.batches import rows_of_step
from ftctl.contract.spec import Config
from ftctl.estimate.facts import Rows

# Rows whose tokens were not counted may be longer than they look.
_LENGTH_MARGIN = 1.25


@dataclass(frozen=True)
class Load:
    """
    A batch: its rows, the tokens of the longest, and those of the longest answer.

    `evaluates`: there are held-out rows. `together`: tokens of the largest pass of layers that
    need no padding; None: those of all rows.
    """

    rows: int
    length: int
    answer: int
    evaluates: bool = True
    together: int | None = None

    @property
    def tokens(self) -> int:
        """Of the largest pass, without padding."""
        return self.rows * self.length if self.together is None else self.together


def load_of(config: Config, rows: Rows | None) -> Load:
    """The largest training batch; full rows where nothing is known of them, or they are packed."""
    training = config.training
    longest = answer = training.max_seq_length
    if rows and rows.train and not training.packing:
        margin = 1.0 if rows.exact else _LENGTH_MARGIN
        longest = min(longest, math.ceil(margin * max(rows.train)))
        answer = min(longest, math.ceil(margin * rows.answers) or longest)
    if not config.dataset.assistant_only:
        answer = longest
    if training.method == "grpo":
        # A row's own answer is not trained on; the model's are, as long as they may be.
        answer = config.grpo.completion_tokens
        longest = min(training.max_seq_length, longest + answer)
    asked = bool(config.dataset.eval or config.dataset.eval_fraction)
    evaluates = rows.held_out > 0 if rows else asked
    # Of a pair both answers go through the model.
    # What a device gets of a step may be less than it could take at once.
    of_step = -(-rows_of_step(training) // config.cluster.processes)
    rows_at_once = min(training.per_device_train_batch_size, of_step)
    rows_at_once *= 2 if training.method in ("dpo", "orpo") else 1
    return Load(rows_at_once, longest, answer, evaluates, _together(config, rows, longest))


def _together(config: Config, rows: Rows | None, longest: int) -> int | None:
    """SFT takes rows of a step together as far as configured rows of full length would reach."""
    training = config.training
    if training.method != "sft" or training.neftune_noise_alpha:
        return None
    count = -(-rows_of_step(training) // config.cluster.processes)
    lengths = [longest] * count
    if rows and rows.exact and not training.packing:
        lengths = sorted(min(length, training.max_seq_length) for length in rows.train)[-count:]
    return min(sum(lengths), training.per_device_train_batch_size * training.max_seq_length)
