"""How far one model's next-token probabilities are from another's, from the top tokens alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ftctl_trainer.export.tensors import Array

# A remainder below this is rounding of the float32 log-probabilities that it is left over from.
_LEAST_REMAINDER = 1e-6


@dataclass(frozen=True)
class Divergence:
    """Over all positions; nats a token."""

    mean_kl: float
    p99_kl: float


def kl_divergences(top_p: Array, top_q: Array) -> Array:
    """
    KL(p || q) at each position, over p's top tokens and one remainder that stands for the rest.

    Taking tokens together never raises a KL divergence (log sum inequality), so this is a lower
    bound of the whole one, near it where the top tokens hold nearly all of p.

    Args:
        top_p: log-probabilities of p's top tokens, [P, top].
        top_q: q's at the same tokens, [P, top].
    Returns:
        [P], in nats.
    """
    p, q = np.exp(top_p.astype(np.float64)), np.exp(top_q.astype(np.float64))
    rest_p = np.maximum(1 - p.sum(axis=1), _LEAST_REMAINDER)
    rest_q = np.maximum(1 - q.sum(axis=1), _LEAST_REMAINDER)
    inside = (p * (top_p.astype(np.float64) - top_q)).sum(axis=1)
    whole = inside + rest_p * (np.log(rest_p) - np.log(rest_q))
    return np.asarray(np.maximum(whole, 0))


def divergence(top_p: Array, top_q: Array) -> Divergence:
    """Mean and 99th percentile of kl_divergences; infinite where q is not a number."""
    kl = np.nan_to_num(kl_divergences(top_p, top_q), nan=math.inf, posinf=math.inf)
    # `higher` needs no interpolation, which infinity does not bear.
    return Divergence(float(kl.mean()), float(np.percentile(kl, 99, method="higher")))


def perplexity_ratio(label_p: Array, label_q: Array) -> float:
    """Perplexity of q over that of p on the same labels, from log-probabilities [P]."""
    return float(np.exp((label_p.astype(np.float64) - label_q).mean()))
