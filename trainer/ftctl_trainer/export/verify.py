"""The proof: llama.cpp runs a GGUF and agrees with the fine-tuned model, token by token."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ftctl.contract.spec import Thresholds
from ftctl.contract.verification import Check, OutputVerification, Verification
from ftctl.errors import ConfigError
from ftctl_trainer.export.divergence import divergence, perplexity_ratio
from ftctl_trainer.export.isolated import isolated
from ftctl_trainer.export.probe import Scored, Texts, examine, score
from ftctl_trainer.export.reference import Reference


def limits_of(qtypes: tuple[str, ...], thresholds: dict[str, Thresholds]) -> dict[str, Thresholds]:
    """
    The limits of each type to be published.

    Raises:
        ConfigError: a type without limits.
    """
    for qtype in qtypes:
        if qtype not in thresholds:
            raise ConfigError(
                f"no limits for {qtype}",
                where="quantize.verify.thresholds",
                hint=f"Add quantize.verify.thresholds.{qtype} with mean_kl, p99_kl, "
                "top1_agreement and perplexity_ratio.",
            )
    return {qtype: thresholds[qtype] for qtype in qtypes}


def verify_output(
    qtype: str,
    parts: Sequence[Path],
    reference: Reference,
    limits: Thresholds,
    *,
    threads: int,
    stop: threading.Event,
) -> OutputVerification:
    """
    Run one GGUF by llama.cpp and hold it to the reference.

    Args:
        parts: its files; llama.cpp finds the others by the name of the first.
    Raises:
        RunFailedError: llama.cpp cannot load or run the file.
        StoppedError: `stop` was set.
    """
    first = parts[0]
    scored, texts = isolated(stop, examine, first, reference, threads)
    found = judge_output(qtype, first.name, reference, limits, scored, texts)
    names = [part.name for part in parts] if len(parts) > 1 else []
    return found.model_copy(update={"parts": names})


def verify_adapter(
    file: Path,
    base: Path,
    reference: Reference,
    limits: Thresholds,
    *,
    threads: int,
    stop: threading.Event,
) -> OutputVerification:
    """
    Run the base with a GGUF of the adapter by llama.cpp, and hold them to the reference.

    Tokens and template are those of whatever base it will be used with, and no matter of its own.

    Raises: as `verify_output`.
    """
    scored = isolated(stop, score, base, reference, threads, file)
    return _judge_numbers("adapter", file.name, reference, limits, scored)


def judge_output(
    qtype: str,
    name: str,
    reference: Reference,
    limits: Thresholds,
    scored: Scored,
    texts: Texts,
) -> OutputVerification:
    """Turn what llama.cpp said into numbers and checks. Pure."""
    found = _judge_numbers(qtype, name, reference, limits, scored)
    texts_agree = [_same_tokens(reference, texts), _same_rendering(reference, texts)]
    return found.model_copy(
        update={
            "checks": [*found.checks, *texts_agree],
            "sample_tuned": reference.sample["text"],
            "sample_gguf": texts.sample,
        }
    )


def _judge_numbers(
    qtype: str, name: str, reference: Reference, limits: Thresholds, scored: Scored
) -> OutputVerification:
    ours = divergence(reference.top_logprobs, scored.top_logprobs)
    agreement = float((scored.best == reference.top_ids[:, 0]).mean())
    ratio = perplexity_ratio(reference.label_logprob, scored.label_logprob)
    return OutputVerification(
        qtype=qtype,
        file=name,
        tokens=len(scored.best),
        mean_kl=ours.mean_kl,
        p99_kl=ours.p99_kl,
        top1_agreement=agreement,
        perplexity_ratio=ratio,
        label_loss=-float(scored.label_logprob.mean()),
        checks=[
            _at_most("mean_kl", ours.mean_kl, limits.mean_kl),
            _at_most("p99_kl", ours.p99_kl, limits.p99_kl),
            _at_least("top1_agreement", agreement, limits.top1_agreement),
            _at_most("perplexity_ratio", ratio, limits.perplexity_ratio),
            _adapter_shows(ours.mean_kl, base_kl(reference), limits.mean_kl),
        ],
    )


def verification(reference: Reference, outputs: list[OutputVerification]) -> Verification:
    """Sum up all outputs. Tokens and template are of the model as a whole: every file has them."""
    whole = {"tokens", "template"}
    checks: dict[str, Check] = {}
    for check in (check for output in outputs for check in output.checks if check.name in whole):
        if check.name not in checks or not check.passed:
            checks[check.name] = check
    own = [
        output.model_copy(update={"checks": [c for c in output.checks if c.name not in whole]})
        for output in outputs
    ]
    return Verification(
        passed=all(output.passed for output in outputs),
        base_kl=base_kl(reference),
        adapter_shows=_sentence(reference, outputs),
        outputs=own,
        checks=list(checks.values()),
    )


def base_kl(reference: Reference) -> float:
    """Mean KL(tuned || base), nats a token: how much the fine-tune changed."""
    return divergence(reference.top_logprobs, reference.base_top_logprobs).mean_kl


def _at_most(name: str, value: float, limit: float) -> Check:
    return Check(name=name, value=value, limit=limit, passed=value <= limit)


def _at_least(name: str, value: float, limit: float) -> Check:
    return Check(name=name, value=value, limit=limit, passed=value >= limit)


def _adapter_shows(kl: float, of_base: float, noise: float) -> Check:
    """
    The file must be nearer to the tuned model than half the way from there to the base.

    Where half the way is less than what the type itself may be off by, nothing can be told.
    """
    limit = of_base / 2
    if kl < limit:
        return Check(name="adapter_shows", value=kl, limit=limit, passed=True)
    if limit < noise:
        detail = f"the fine-tune changed less than this type can show (noise up to {noise:.3g})"
        return Check(name="adapter_shows", value=kl, limit=limit, passed=True, detail=detail)
    return Check(name="adapter_shows", value=kl, limit=limit, passed=False)


def _same_tokens(reference: Reference, texts: Texts) -> Check:
    for probe, tokens in zip(reference.probe, texts.tokens, strict=True):
        if probe["ids"] != tokens:
            detail = f"{probe['text']!r} is {probe['ids']} in training, {tokens} in llama.cpp"
            return Check(name="tokens", passed=False, detail=detail)
    return Check(name="tokens", passed=True, detail=f"{len(texts.tokens)} texts are split alike")


def _same_rendering(reference: Reference, texts: Texts) -> Check:
    for chat, rendered in zip(reference.chat, texts.rendered, strict=True):
        if chat["text"] != rendered:
            detail = f"training saw {chat['text']!r}, llama.cpp renders {rendered!r}"
            return Check(name="template", passed=False, detail=detail)
    detail = f"{len(texts.rendered)} conversations are rendered alike"
    return Check(name="template", passed=True, detail=detail)


def _sentence(reference: Reference, outputs: list[OutputVerification]) -> str:
    of_base = base_kl(reference)
    mean = float(np.mean([output.mean_kl for output in outputs])) if outputs else 0.0
    shows = [check for out in outputs for check in out.checks if check.name == "adapter_shows"]
    if any(not check.passed for check in shows):
        return (
            f"The adapter does not show: the files are {mean:.3g} nats a token from the tuned "
            f"model, which is {of_base:.3g} from its base."
        )
    if shows and all(check.detail for check in shows):
        return (
            f"The fine-tune changed nothing measurable: {of_base:.3g} nats a token from the base, "
            "within the noise of the types."
        )
    return (
        f"The adapter shows: the tuned model is {of_base:.3g} nats a token from its base, the "
        f"files {mean:.3g} from the tuned model."
    )
