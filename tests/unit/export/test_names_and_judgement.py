"""Names of the published files; what measured numbers mean; which pre-tokenizer a model has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ftctl.contract.spec import Thresholds
from ftctl.errors import ConfigError, RunFailedError
from ftctl_trainer.export.probe import Scored, Texts
from ftctl_trainer.export.publish import gguf_names
from ftctl_trainer.export.reference import Reference
from ftctl_trainer.export.verify import judge_output, limits_of, verification
from ftctl_trainer.export.vocabulary import pre_tokenizer

LIMITS = Thresholds(mean_kl=0.05, p99_kl=0.1, top1_agreement=0.9, perplexity_ratio=1.1)
TUNED, BASE = np.log([[0.6, 0.3]] * 4), np.log([[0.1, 0.8]] * 4)
NEARLY = np.log([[0.59, 0.3]] * 4)
TEXTS = Texts(tokens=[[1, 2]], rendered=["<user>Hi"], sample="Yes")


def _reference(base: np.ndarray = BASE) -> Reference:
    return Reference(
        sequences=[[5, 0, 0, 1, 0]],
        firsts=[1],
        label_logprob=TUNED[:, 0],
        top_ids=np.array([[0, 1]] * 4),
        top_logprobs=TUNED,
        base_top_logprobs=base,
        probe=[{"text": "a b", "ids": [1, 2]}],
        chat=[{"messages": [{"role": "user", "content": "Hi"}], "text": "<user>Hi"}],
        sample={"prompt_ids": [5], "ids": [0], "text": "Yes"},
    )


def _missed(
    scored: Scored, texts: Texts = TEXTS, reference: Reference | None = None
) -> dict[str, str]:
    output = judge_output("q4_1", "a.gguf", reference or _reference(), LIMITS, scored, texts)
    return {check.name: check.detail for check in output.checks if not check.passed}


def _scored(logprobs: np.ndarray, best: int = 0) -> Scored:
    return Scored(logprobs, logprobs[:, 0], np.full(4, best))


@pytest.mark.parametrize(
    ("outfile", "qtypes", "want"),
    [
        pytest.param(None, ["q4_1"], ["bot-Q4_1.gguf"], id="by-the-run"),
        pytest.param("x.gguf", ["q4_1"], ["x.gguf"], id="outfile"),
        pytest.param("x", ["q4_1"], ["x.gguf"], id="without-suffix"),
        pytest.param("x.gguf", ["f16", "q8_0"], ["x-F16.gguf", "x-Q8_0.gguf"], id="several"),
    ],
)
def test_file_names(outfile: str | None, qtypes: list[str], want: list[str]) -> None:
    assert list(gguf_names("bot-0123456789ab", outfile, qtypes).values()) == want


def test_a_file_near_the_tuned_model_passes_every_check() -> None:
    assert _missed(_scored(NEARLY)) == {}


def test_the_base_itself_misses_every_number() -> None:
    assert set(_missed(_scored(BASE, best=1))) == {
        "mean_kl", "p99_kl", "top1_agreement", "perplexity_ratio", "adapter_shows",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("texts", "want"),
    [
        pytest.param(
            Texts([[1, 3]], ["<user>Hi"], ""),
            {"tokens": "'a b' is [1, 2] in training, [1, 3] in llama.cpp"},
            id="tokens",
        ),
        pytest.param(
            Texts([[1, 2]], ["Hi"], ""),
            {"template": "training saw '<user>Hi', llama.cpp renders 'Hi'"},
            id="template",
        ),
    ],
)
def test_texts_must_be_the_same(texts: Texts, want: dict[str, str]) -> None:
    assert _missed(_scored(NEARLY), texts) == want


def test_a_change_below_the_noise_of_the_type_is_said_and_passes() -> None:
    slight = np.log([[0.595, 0.3]] * 4)
    reference = _reference(base=slight)
    output = judge_output("q4_1", "a.gguf", reference, LIMITS, _scored(NEARLY), TEXTS)

    found = verification(reference, [output])

    assert found.passed
    assert found.adapter_shows.startswith("The fine-tune changed nothing measurable")


@pytest.mark.parametrize(
    ("logprobs", "want"),
    [
        pytest.param(NEARLY, "The adapter shows: ", id="tuned"),
        pytest.param(BASE, "The adapter does not show: ", id="forgotten"),
    ],
)
def test_the_verdict_on_the_adapter(logprobs: np.ndarray, want: str) -> None:
    output = judge_output("q4_1", "a.gguf", _reference(), LIMITS, _scored(logprobs), TEXTS)

    found = verification(_reference(), [output])

    assert found.adapter_shows.startswith(want)
    assert found.passed == (want == "The adapter shows: ")
    assert [check.name for check in found.checks] == ["tokens", "template"]


@pytest.mark.parametrize(
    ("right", "missed"),
    [pytest.param(3, {"top1_agreement"}, id="below"), pytest.param(4, set(), id="all")],
)
def test_the_share_of_equal_tokens_has_its_limit(right: int, missed: set[str]) -> None:
    best = np.array([0] * right + [1] * (4 - right))
    assert set(_missed(Scored(NEARLY, NEARLY[:, 0], best))) == missed


@pytest.mark.parametrize(
    ("probabilities", "shows"),
    [
        pytest.param([0.25, 0.65], True, id="37-percent-of-the-way-to-the-base"),
        pytest.param([0.15, 0.75], False, id="71-percent"),
    ],
)
def test_a_file_must_be_nearer_to_the_tuned_model_than_half_the_way_to_its_base(
    probabilities: list[float], shows: bool
) -> None:
    missed = _missed(_scored(np.log([probabilities] * 4)))
    assert ("adapter_shows" not in missed) == shows


@pytest.mark.parametrize("order", [1, -1], ids=["the-second-file", "the-first-file"])
@pytest.mark.parametrize(
    ("bad", "failed"),
    [
        pytest.param((_scored(BASE), TEXTS), [], id="numbers"),
        pytest.param((_scored(NEARLY), Texts([[9]], ["<user>Hi"], "")), ["tokens"], id="tokens"),
    ],
)
def test_one_file_that_misses_fails_the_whole(
    bad: tuple[Scored, Texts], failed: list[str], order: int
) -> None:
    judged = [
        judge_output("q4_1", "a.gguf", _reference(), LIMITS, scored, texts)
        for scored, texts in [(_scored(NEARLY), TEXTS), bad][::order]
    ]
    found = verification(_reference(), judged)
    assert not found.passed
    assert [check.name for check in found.checks if not check.passed] == failed


def test_a_type_without_limits_is_refused() -> None:
    with pytest.raises(ConfigError, match="no limits for q4_0"):
        limits_of(("q4_1", "q4_0"), {"q4_1": LIMITS})


LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@pytest.mark.parametrize(
    ("steps", "want"),
    [
        pytest.param([{"type": "ByteLevel"}], "gpt-2", id="gpt2"),
        pytest.param(
            [{"type": "Digits", "individual_digits": True}, {"type": "ByteLevel"}],
            "smollm",
            id="smollm",
        ),
        pytest.param(
            [{"type": "Split", "pattern": {"Regex": LLAMA3}}, {"type": "ByteLevel"}],
            "llama-bpe",
            id="llama3",
        ),
        pytest.param(
            [
                {"type": "Split", "pattern": {"Regex": LLAMA3.replace("{1,3}", "")}},
                {"type": "ByteLevel"},
            ],
            "qwen2",
            id="qwen2",
        ),
    ],
)
def test_pre_tokenizers_are_told_by_structure(steps: list[dict[str, Any]], want: str) -> None:
    assert pre_tokenizer({"pre_tokenizer": {"type": "Sequence", "pretokenizers": steps}}) == want


def test_an_unknown_pre_tokenizer_is_refused() -> None:
    with pytest.raises(RunFailedError, match=r"pre-tokenizer .*Whitespace"):
        pre_tokenizer({"pre_tokenizer": {"type": "Whitespace"}})
