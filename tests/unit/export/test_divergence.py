"""KL divergence over top tokens and a remainder, against the whole distribution."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftctl_trainer.export.divergence import divergence, kl_divergences, perplexity_ratio


def _log(*probabilities: float) -> np.ndarray:
    return np.log(np.array([probabilities], dtype=np.float32))


@pytest.mark.parametrize(
    ("p", "q", "want"),
    [
        pytest.param((0.5, 0.25), (0.5, 0.25), 0.0, id="equal"),
        pytest.param(
            (0.5, 0.25),
            (0.25, 0.25),
            0.5 * math.log(2) + 0.25 * math.log(0.25 / 0.5),
            id="the-remainder-counts-as-one-token",
        ),
        pytest.param((1.0,), (0.5,), math.log(2), id="no-remainder"),
    ],
)
def test_kl_over_top_tokens_and_a_remainder(
    p: tuple[float, ...], q: tuple[float, ...], want: float
) -> None:
    assert kl_divergences(_log(*p), _log(*q))[0] == pytest.approx(want, abs=2e-5)


@given(st.integers(0, 2**32 - 1))
def test_taking_tokens_together_never_raises_the_divergence(seed: int) -> None:
    logits = np.random.default_rng(seed).normal(size=(2, 1, 20))
    p, q = (values - np.log(np.exp(values).sum()) for values in logits)
    whole = float((np.exp(p) * (p - q)).sum())

    top = np.argsort(-p[0])[:5]
    part = float(kl_divergences(p[:, top], q[:, top])[0])

    assert -1e-9 <= part <= whole + 1e-9


def test_a_value_that_is_not_a_number_is_infinitely_far() -> None:
    found = divergence(_log(0.5, 0.25), np.array([[np.nan, -1.0]], np.float32))

    assert (found.mean_kl, found.p99_kl) == (math.inf, math.inf)


def test_perplexity_ratio_is_of_q_over_p() -> None:
    p, q = np.log(np.array([0.5, 0.5])), np.log(np.array([0.25, 0.25]))

    assert perplexity_ratio(p, q) == pytest.approx(2.0)
