"""What a model says at the positions that carry a loss, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

IGNORED = -100
T = TypeVar("T")
Row = Mapping[str, Sequence[int]]
Collate = Callable[[list[Row]], Mapping[str, "Tensor"]]
# Of a batch, what the model's forward takes here.
_SEEN = frozenset(
    {
        "input_ids",
        "position_ids",
        "cu_seq_lens_q",
        "cu_seq_lens_k",
        "max_length_q",
        "max_length_k",
    }
)


def label_logits(model: Any, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """
    Run a batch and return float32 logits [labels, vocabulary] and their targets [labels].

    The head sees only the positions that predict a label: most of a row is prompt, and the head
    is a fifth of a small model's work. All else, soft caps among it, is the model's own forward.

    Args:
        batch: input_ids and labels, each [rows, tokens], padded on the right: attention is causal,
            so no real token sees padding, and a mask would only cost time. Packed rows come with
            position_ids, by which the model tells them apart.
    """
    targets = batch["labels"][:, 1:]
    wanted = targets != IGNORED

    def select(head: Any, inputs: tuple[Tensor]) -> tuple[Tensor]:
        return (inputs[0][:, :-1][wanted],)

    inner = getattr(model, "module", model)  # of several processes, each wraps its own
    inner = inner.get_base_model() if hasattr(inner, "get_base_model") else inner
    hook = inner.get_output_embeddings().register_forward_pre_hook(select)
    try:
        logits = model(
            **{name: batch[name] for name in _SEEN & batch.keys()}, use_cache=False
        ).logits
    finally:
        hook.remove()
    return logits.float(), targets[wanted]


def label_loss_sum(model: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """
    Sum of the negative log-likelihoods of a batch's labels, in nats; a scalar with gradient.

    Args:
        batch: as `label_logits` takes it, or for a model with fast layers as `EndToEndCollator`
            makes it.
    """
    import torch

    from ftctl_trainer.model.fast.install import fast_label_loss, fast_model

    fast = fast_model(model)
    if fast is not None and "label_places" in batch:
        return fast_label_loss(model, fast, batch)
    logits, targets = label_logits(model, batch)
    return torch.nn.functional.cross_entropy(logits, targets, reduction="sum")


def row_log_probs(model: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """Log-probability of each row's labels together, nats; float32, [rows]."""
    import torch

    logits, targets = label_logits(model, batch)
    losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    rows = (batch["labels"][:, 1:] != IGNORED).nonzero()[:, 0]
    sums = torch.zeros(len(batch["labels"]), dtype=losses.dtype, device=losses.device)
    return sums.index_add(0, rows, -losses)


def held_out_log_probs(
    model: Any, rows: Sequence[Row], collate: Collate, *, batch_size: int
) -> Tensor:
    """
    `row_log_probs` of many rows, without gradient; float32 on the CPU, [rows].

    The model is left in the mode (train or eval) that it was in.
    """
    import torch

    found = _of_batches(
        lambda batch: row_log_probs(model, batch).cpu(), model, rows, collate, batch_size
    )
    return torch.cat(found)


def mean_label_loss(
    model: Any,
    rows: Sequence[Row],
    collate: Collate,
    *,
    batch_size: int,
    on_batch: Callable[[], None] = lambda: None,
) -> float:
    """
    Nats a label token over all rows, teacher-forced, rows of like length together.

    The model is left in the mode (train or eval) that it was in.
    """

    def measure(batch: Mapping[str, Tensor]) -> tuple[float, int]:
        on_batch()
        labels = int((batch["labels"][:, 1:] != IGNORED).sum())
        return label_loss_sum(model, batch).item(), labels

    longest_first = sorted(rows, key=lambda row: -len(row["input_ids"]))
    found = _of_batches(measure, model, longest_first, collate, batch_size)
    return sum(loss for loss, _ in found) / max(sum(labels for _, labels in found), 1)


def _of_batches(
    work: Callable[[Mapping[str, Tensor]], T],
    model: Any,
    rows: Sequence[Row],
    collate: Collate,
    batch_size: int,
) -> list[T]:
    """What `work` says of every batch on the model's device, without gradient, in eval mode."""
    import torch

    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    found = []
    # Not inference_mode: layers gathered in it could not be trained with afterwards (shard.py).
    with torch.no_grad():
        for start in range(0, len(rows), batch_size):
            batch = collate(list(rows[start : start + batch_size]))
            found.append(work({name: tensor.to(device) for name, tensor in batch.items()}))
    model.train(was_training)
    return found
