"""Greedy answers, many at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def greedy_answers(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    batch_size: int,
    stop_ids: Sequence[int],
    pad_id: int,
    on_batch: Callable[[], None] = lambda: None,
) -> list[list[int]]:
    """
    Continue each prompt by its most likely tokens; return the new ones, without the end token.

    Prompts of like length share a batch, padded on the left. Dropout, sampling and penalties of
    the model's own generation settings are off.

    Args:
        stop_ids: tokens that end an answer.
        on_batch: called before each batch; may raise to end early.
    """
    import torch
    from transformers import GenerationConfig

    settings = GenerationConfig(
        do_sample=False,
        max_new_tokens=max_new_tokens,
        eos_token_id=list(stop_ids),
        pad_token_id=pad_id,
        use_cache=True,
    )
    device = next(model.parameters()).device
    order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
    answers: list[list[int]] = [[] for _ in prompts]
    was_training, own_settings = model.training, model.generation_config
    model.eval()
    # `generate` would fill what is not set here from the model's own settings.
    model.generation_config = settings
    try:
        # Not inference_mode: layers gathered in it could not be trained with afterwards (shard.py).
        with torch.no_grad():
            for start in range(0, len(order), batch_size):
                on_batch()
                chosen = order[start : start + batch_size]
                ids, mask = _left_padded([prompts[index] for index in chosen], pad_id)
                out = model.generate(
                    input_ids=ids.to(device),
                    attention_mask=mask.to(device),
                    generation_config=settings,
                )
                for index, tokens in zip(chosen, out[:, ids.shape[1] :].tolist(), strict=True):
                    answers[index] = _until(tokens, set(stop_ids))
    finally:
        model.generation_config = own_settings
        model.train(was_training)
    return answers


def stop_token_ids(model: Any, tokenizer: Any, labels: Sequence[Sequence[int]]) -> list[int]:
    """
    Tokens that end an answer: the tokenizer's, the model's, and what ends the rows' answers.

    A chat template may end a turn with another special token than the tokenizer's end token.
    """
    found: set[int | None] = set(ends_of_answers(tokenizer, labels))
    own = getattr(model.generation_config, "eos_token_id", None)
    found.update(own if isinstance(own, list) else [own])
    return sorted(token for token in found if token is not None)


def ends_of_answers(tokenizer: Any, labels: Sequence[Sequence[int]]) -> list[int]:
    """The same without what the model's own settings say."""
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    found = {row[-1] for row in labels if row and row[-1] in special}
    return sorted(found | {tokenizer.eos_token_id} - {None})


def _left_padded(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[Any, Any]:
    import torch

    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for number, row in enumerate(rows):
        ids[number, width - len(row) :] = torch.tensor(row)
        mask[number, width - len(row) :] = 1
    return ids, mask


def _until(tokens: list[int], stops: set[int]) -> list[int]:
    for position, token in enumerate(tokens):
        if token in stops:
            return tokens[:position]
    return tokens
