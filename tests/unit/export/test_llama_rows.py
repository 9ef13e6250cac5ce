"""Rows of q and k in the order of llama.cpp's rope, before an update as after it."""

from __future__ import annotations

import numpy as np

from ftctl_trainer.export.llama_family import Hyperparameters, gguf_tensors
from ftctl_trainer.export.tensors import Tensor

HYPER = Hyperparameters(
    blocks=1,
    hidden=8,
    feed_forward=16,
    context=32,
    heads=2,
    kv_heads=1,
    head_size=4,
    norm_epsilon=1e-5,
    rope={"kind": "default", "rope_theta": 10000.0},
)
Q, V = (f"model.layers.0.self_attn.{part}_proj.weight" for part in "qv")


def _numbered(name: str, rows: int, first: int) -> Tensor:
    values = np.repeat(np.arange(first, first + rows, dtype=np.float32)[:, None], 8, axis=1)
    return Tensor(name, (rows, 8), lambda: values, base=lambda: values + 100)


def test_a_tensor_and_what_it_was_are_put_in_the_same_order() -> None:
    [q, v] = gguf_tensors([_numbered(Q, 8, 0), _numbered(V, 4, 0)], HYPER)

    # Of each head of four, the halves (0 1) and (2 3) alternate.
    assert q.base
    assert v.base
    assert q.load()[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
    assert q.base()[:, 0].tolist() == [100, 102, 101, 103, 104, 106, 105, 107]
    assert v.load()[:, 0].tolist() == [0, 1, 2, 3]
    assert v.base()[:, 0].tolist() == [100, 101, 102, 103]


def test_a_tensor_that_nothing_changed_has_no_before() -> None:
    plain = Tensor(Q, (8, 8), lambda: np.zeros((8, 8), np.float32))

    assert gguf_tensors([plain], HYPER)[0].base is None
