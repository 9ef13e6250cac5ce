"""Answers of a model with fast layers: all rows a token further at a time, as one CUDA graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch

from ftctl_trainer.model.fast.documents import documents
from ftctl_trainer.model.fast.ops import ops_for
from ftctl_trainer.model.fast.plan import free_bytes, work_bytes
from ftctl_trainer.model.fast.projections import copy_adapters

if TYPE_CHECKING:
    from torch import Tensor

    from ftctl_trainer.model.fast.blocks import Attention, Mlp
    from ftctl_trainer.model.fast.install import FastModel

Choose = Callable[["Tensor"], "Tensor"]

# Tokens between two looks at whether all rows have ended: a look waits for the device.
_LOOK = 16
# The cache's tokens are a multiple of this, as attention's mask wants them.
_ALIGNED = 64
# Of the memory that is free, for the weights unpacked.
_SHARE = 0.8


@torch.no_grad()
def answers(
    fast: FastModel,
    prompts: Sequence[Sequence[int]],
    *,
    most: int,
    at_once: int,
    stop_ids: Sequence[int],
    choose: Choose,
) -> list[list[int]]:
    """
    Continue each prompt, its adapter in place, without dropout.

    Args:
        most: tokens of an answer.
        at_once: tokens of the prompts that are read together, but for one that has more.
        stop_ids: they end an answer, and belong to it.
        choose: from logits, [rows, vocabulary], to the next tokens, int64, [rows].
    """
    device = fast.device
    copy_adapters(fast.products, fast.dtype)
    stops = torch.tensor(list(stop_ids), device=device)
    # The caches come first: weights are unpacked in what they leave.
    state = _State(fast, prompts, most)
    with _unpacked(fast, at_once):
        tokens = [choose(state.read(at_once))]
        ended = torch.isin(tokens[0], stops)
        # What repeats its bits may wait for the device, which a graph cannot.
        graph = device.type == "cuda" and not torch.are_deterministic_algorithms_enabled()
        step = state.captured() if graph and most > 1 else state.step
        while len(tokens) < most:
            if len(tokens) % _LOOK == 0 and bool(ended.all()):
                break
            tokens.append(choose(step(tokens[-1])))
            ended |= torch.isin(tokens[-1], stops)
    rows = torch.stack(tokens, 1).tolist()
    return [_until(row, frozenset(stop_ids)) for row in rows]


def sampled(temperature: float) -> Choose:
    """Draw each token by its probability at this temperature, by torch's generator."""

    def choose(logits: Tensor) -> Tensor:
        shares = torch.softmax(logits.float() / temperature, -1)
        # The largest share over an exponential draw is each by its share.
        return (shares / torch.empty_like(shares).exponential_()).argmax(-1)

    return choose


@dataclass
class _Cache:
    """Keys and values of one layer: [rows, heads, tokens, D]."""

    keys: Tensor
    values: Tensor


class _State:
    """The rows as far as they have come."""

    def __init__(self, fast: FastModel, prompts: Sequence[Sequence[int]], most: int) -> None:
        self._fast, self._prompts = fast, prompts
        self._lengths = [len(prompt) for prompt in prompts]
        embedding = fast.inner.embed_tokens.weight
        self._device = embedding.device
        room = -(-(max(self._lengths) + most) // _ALIGNED) * _ALIGNED
        first = fast.attentions[0]
        size = first.out.inputs // first.heads
        shape = len(prompts), first.kv_heads, room, size
        self._caches = [
            _Cache(embedding.new_zeros(shape), embedding.new_zeros(shape)) for _ in fast.attentions
        ]
        self._numbers = torch.arange(len(prompts), device=self._device)
        self._places = torch.arange(room, device=self._device)
        self._at = torch.tensor(self._lengths, device=self._device)
        """Where each row's next token goes."""
        angles = documents(fast.inner.rotary_emb, self._places, [room])
        self._cos, self._sin = angles.cos, angles.sin

    def read(self, at_once: int) -> Tensor:
        """Run all prompts, some at a time; return the logits of their last tokens."""
        groups = together([len(prompt) for prompt in self._prompts], at_once)
        return self._logits(torch.cat([self._read(rows) for rows in groups]))

    def _read(self, numbers: Sequence[int]) -> Tensor:
        """Run these prompts end to end; return what the layers make of their last tokens."""
        fast, lengths = self._fast, [self._lengths[number] for number in numbers]
        tokens = [token for number in numbers for token in self._prompts[number]]
        positions = torch.cat([self._places[:length] for length in lengths])
        rows = documents(fast.inner.rotary_emb, positions, lengths)
        x = fast.inner.embed_tokens(torch.tensor(tokens, device=self._device))
        starts = list(accumulate(lengths, initial=0))
        for attention, mlp, cache in zip(fast.attentions, fast.mlps, self._caches, strict=True):
            qkv, _, made = attention.attended(attention.normed(x)[0], rows, None)
            _, keys, values = attention.split(qkv)
            for number, start, end in zip(numbers, starts, starts[1:], strict=False):
                cache.keys[number, :, : end - start] = keys[start:end].transpose(0, 1)
                cache.values[number, :, : end - start] = values[start:end].transpose(0, 1)
            x = attention.out.forward(made.out.flatten(1), plus=x)[0]
            x = mlp.forward(x, (None, None))[0]
        last: Tensor = x[[end - 1 for end in starts[1:]]]
        return last

    def step(self, tokens: Tensor) -> Tensor:
        """Take these tokens, [rows], in; return the logits of what follows."""
        fast, at = self._fast, self._at
        x = fast.inner.embed_tokens(tokens)
        cos, sin = self._cos[at], self._sin[at]
        seen = (self._places <= at[:, None])[:, None, None]
        for attention, mlp, cache in zip(fast.attentions, fast.mlps, self._caches, strict=True):
            x = self._layer(x, attention, mlp, cache, cos, sin, seen)
        at += 1
        return self._logits(x)

    def captured(self) -> Choose:
        """`step` as a graph: its kernels start at once, where by themselves they would wait."""
        tokens, before = self._numbers.clone(), self._at.clone()
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            self.step(tokens)  # what is compiled or looked up at first must be there
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            logits = self.step(tokens)
        self._at.copy_(before)

        def replay(chosen: Tensor) -> Tensor:
            tokens.copy_(chosen)
            graph.replay()
            return logits

        return replay

    def _layer(
        self,
        x: Tensor,
        attention: Attention,
        mlp: Mlp,
        cache: _Cache,
        cos: Tensor,
        sin: Tensor,
        seen: Tensor,
    ) -> Tensor:
        flat, _ = attention.qkv.forward(attention.normed(x)[0])
        heads, shared = attention.heads, attention.kv_heads
        qkv = flat.view(len(x), heads + 2 * shared, -1)
        ops_for(qkv).rotate_(qkv, cos, sin, heads + shared)
        q, k, v = attention.split(qkv)
        cache.keys[self._numbers, :, self._at] = k
        cache.values[self._numbers, :, self._at] = v
        # Heads that share keys stand as if they were that many tokens.
        groups = q.reshape(len(x), shared, heads // shared, -1)
        mask = seen.expand(-1, shared, heads // shared, -1)
        made = torch.nn.functional.scaled_dot_product_attention(
            groups, cache.keys, cache.values, mask, scale=attention.scale
        )
        x = attention.out.forward(made.reshape(len(x), -1), plus=x)[0]
        return mlp.forward(x, (None, None))[0]

    def _logits(self, x: Tensor) -> Tensor:
        norm = self._fast.norm
        y = ops_for(x).rms_norm(x, norm.weight, norm.eps)[0]
        found: Tensor = y @ self._fast.head.to(y.dtype).T
        return found


@contextmanager
def _unpacked(fast: FastModel, tokens: int) -> Iterator[None]:
    """Keep the 4-bit weights unpacked, if passes of so many tokens leave memory for all of them."""
    packed: list[Any] = [part for part in fast.products if part.stays_packed]
    needed = sum(part.matrix_bytes for part in packed)
    if fast.device.type != "cuda" or needed > _SHARE * (free_bytes() - work_bytes(fast, tokens)):
        yield
        return
    for part in packed:
        part.keep_matrix(fast.dtype)
    try:
        yield
    finally:
        for part in packed:
            part.drop_matrix()


def together(lengths: Sequence[int], at_once: int) -> list[list[int]]:
    """Numbers of neighbouring prompts that have at most so many tokens together, or of one."""
    groups: list[list[int]] = []
    room = 0
    for number, length in enumerate(lengths):
        if length > room or not groups:
            groups.append([])
            room = at_once
        groups[-1].append(number)
        room -= length
    return groups


def _until(tokens: list[int], stops: frozenset[int]) -> list[int]:
    """Up to the first token that ends an answer, that token with it."""
    for number, token in enumerate(tokens, 1):
        if token in stops:
            return tokens[:number]
    return tokens
