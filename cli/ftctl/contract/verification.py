"""verify.json: the proof that a GGUF is the model that was trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ftctl.contract.status import Stored


class Check(Stored):
    """One measured number against its limit."""

    name: str
    value: float | None = None
    limit: float | None = None
    passed: bool
    detail: str = ""


class OutputVerification(Stored):
    """All checks of one published file."""

    qtype: str
    file: str = Field(description="the file, or the first of its parts")
    parts: list[str] = Field(
        default_factory=list, description="its files where it was split, in order"
    )
    tokens: int = Field(description="reference positions compared")
    mean_kl: float = Field(
        description="mean KL(tuned || gguf), nats a token, over the top tokens and the remainder"
    )
    p99_kl: float
    top1_agreement: float = Field(description="share of positions with the same most likely token")
    perplexity_ratio: float = Field(
        description="perplexity of the gguf over that of the tuned model"
    )
    label_loss: float | None = Field(
        None, description="mean loss of the gguf on the held-out labels, nats a token"
    )
    checks: list[Check]
    sample_tuned: str = ""
    sample_gguf: str = ""

    @property
    def files(self) -> list[str]:
        """All files that it is made of."""
        return self.parts or [self.file]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)


class MergeBaseScore(Stored):
    """One of the bases that the adapter was merged onto, and how well that does."""

    base: Literal["full", "nf4"]
    label_loss: float = Field(description="held-out label loss, nats a token, mean of the types")
    passed: bool = Field(description="whether every file agrees with the model over this base")


class Verification(Stored):
    """verify.json. `passed` is false when any check missed, and then nothing was published."""

    passed: bool
    base_kl: float | None = Field(
        None, description="mean KL(tuned || base): how much the fine-tune changed"
    )
    adapter_shows: str = Field(
        "", description="what the comparison with the base says, in a sentence"
    )
    outputs: list[OutputVerification] = Field(default_factory=list)
    checks: list[Check] = Field(
        default_factory=list, description="checks of the model as a whole: tokens, template"
    )
    merge_base: Literal["full", "nf4"] = Field(
        "full", description="the base that the published files were merged onto"
    )
    merge_bases: list[MergeBaseScore] = Field(
        default_factory=list, description="the bases that were compared, where there were several"
    )
    merged_onto: str = Field("", description="what the comparison of bases says, in a sentence")
