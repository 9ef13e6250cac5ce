"""Which base wins, and what is said about it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from ftctl.contract.spec import Config
from ftctl.contract.verification import MergeBaseScore, OutputVerification, Verification
from ftctl.errors import ConfigError
from ftctl_trainer.export.merge_base import Candidate, MergeBase, better, wanted_bases


def _candidate(base: MergeBase, *losses: float, passed: bool = True) -> Candidate:
    outputs = [
        OutputVerification(
            qtype=f"type{number}", file="", tokens=1, mean_kl=0, p99_kl=0, top1_agreement=1,
            perplexity_ratio=1, checks=[], label_loss=loss,
        )
        for number, loss in enumerate(losses)
    ]  # fmt: skip
    return Candidate(base, Path(base), {}, Verification(passed=passed, outputs=outputs))


@pytest.mark.parametrize(
    ("full", "nf4", "want"),
    [
        pytest.param(((1.0, 1.2), True), ((1.1, 1.3), True), "full", id="full-is-better"),
        pytest.param(((1.0, 1.2), True), ((0.9, 1.2), True), "nf4", id="nf4-is-better"),
        pytest.param(((1.0,), True), ((1.0,), True), "full", id="equal"),
        pytest.param(((1.0,), False), ((1.1,), True), "nf4", id="only-the-other-is-proven"),
        pytest.param(((1.0,), False), ((0.9,), False), "nf4", id="none-is-proven"),
    ],
)
def test_the_lower_label_loss_wins_among_those_that_are_proven(
    full: tuple[tuple[float, ...], bool], nf4: tuple[tuple[float, ...], bool], want: str
) -> None:
    candidates = [
        _candidate("full", *full[0], passed=full[1]),
        _candidate("nf4", *nf4[0], passed=nf4[1]),
    ]

    assert better(candidates).base == want


def test_the_evidence_names_both() -> None:
    found = better([_candidate("full", 1.0, 1.5, passed=False), _candidate("nf4", 1.3, 1.5)])

    assert found.proof.merge_base == "nf4"
    assert found.proof.merge_bases == [
        MergeBaseScore(base="full", label_loss=1.25, passed=False),
        MergeBaseScore(base="nf4", label_loss=1.4, passed=True),
    ]
    assert found.proof.merged_onto == (
        "The adapter was merged onto the base as it was quantized for training: the held-out "
        "label loss is 1.4000 nats a token there, 1.2500 on the full-precision base, which was "
        "not proven."
    )


def test_one_base_is_not_compared() -> None:
    proof = better([_candidate("nf4", 1.0)]).proof

    assert (proof.merge_base, proof.merge_bases, proof.merged_onto) == ("nf4", [], "")


@pytest.mark.parametrize(
    ("asked", "want"),
    [("full", ("full",)), ("nf4", ("nf4",)), ("best", ("full", "nf4"))],
)
def test_the_bases_that_are_asked_for(asked: str, want: tuple[str, ...]) -> None:
    assert wanted_bases(_config({"quantize": {"merge_base": asked}})) == want


def test_a_machine_without_bitsandbytes_says_so_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)

    assert wanted_bases(_config({})) == ("full",)
    with pytest.raises(ConfigError, match=r"bitsandbytes, .* is not installed here"):
        wanted_bases(_config({"quantize": {"merge_base": "best"}}))


def _config(sections: dict[str, Any]) -> Config:
    return Config.model_validate(sections)
