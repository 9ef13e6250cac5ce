"""Which base an adapter is merged onto: the full-precision one, or the one it was trained on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ftctl.contract.layout import NF4
from ftctl.contract.spec import Config
from ftctl.contract.verification import MergeBaseScore, Verification
from ftctl.errors import ConfigError
from ftctl_trainer.export.nf4 import check_nf4
from ftctl_trainer.export.reference import Reference, read_reference

MergeBase = Literal["full", "nf4"]

_NAMES = {"full": "the full-precision base", "nf4": "the base as it was quantized for training"}


@dataclass(frozen=True)
class Candidate:
    """An export onto one base, proven or not."""

    base: MergeBase
    folder: Path
    """The base itself."""
    files: dict[str, list[Path]]
    """Parts of each file, by quantization type."""
    proof: Verification

    @property
    def gguf_folder(self) -> Path:
        """The folder that the files are in."""
        return next(iter(self.files.values()))[0].parent

    @property
    def label_loss(self) -> float:
        """Held-out label loss, nats a token, mean of the types."""
        losses = [output.label_loss or 0.0 for output in self.proof.outputs]
        return sum(losses) / len(losses)


def wanted_bases(config: Config) -> tuple[MergeBase, ...]:
    """
    The bases that quantize.merge_base asks for.

    Raises:
        ConfigError: the model was not trained in NF4, or bitsandbytes is not installed.
    """
    wanted: dict[str, tuple[MergeBase, ...]] = {
        "full": ("full",),
        "nf4": ("nf4",),
        "best": ("full", "nf4"),
    }
    found = wanted[config.quantize.merge_base]
    if "nf4" in found:
        if config.model.use_8bit:
            raise ConfigError(
                "model.use_8bit trains on another base than NF4",
                where=f"quantize.merge_base={config.quantize.merge_base}",
                hint="Set quantize.merge_base=full.",
            )
        check_nf4()
    return found


def reference_of(base: MergeBase, folder: Path) -> Reference:
    """Read what the train stage left of the tuned model over this base. Raises RunFailedError."""
    return read_reference(folder / NF4 if base == "nf4" else folder)


def better(candidates: list[Candidate]) -> Candidate:
    """
    Choose what is published, and write the comparison into its proof.

    The lower held-out label loss wins, among those that passed where any did. KL to the tuned
    model would not do: each is compared with the model over its own base.
    """
    if len(candidates) == 1:
        [only] = candidates
        proof = only.proof.model_copy(update={"merge_base": only.base})
        return replace(only, proof=proof)
    best = min(candidates, key=lambda found: (not found.proof.passed, found.label_loss))
    scores = [
        MergeBaseScore(base=found.base, label_loss=found.label_loss, passed=found.proof.passed)
        for found in candidates
    ]
    facts = {
        "merge_base": best.base,
        "merge_bases": scores,
        "merged_onto": _sentence(best, candidates),
    }
    return replace(best, proof=best.proof.model_copy(update=facts))


def _sentence(best: Candidate, candidates: list[Candidate]) -> str:
    others = "; ".join(
        f"{found.label_loss:.4f} on {_NAMES[found.base]}"
        + ("" if found.proof.passed else ", which was not proven")
        for found in candidates
        if found.base != best.base
    )
    return (
        f"The adapter was merged onto {_NAMES[best.base]}: the held-out label loss is "
        f"{best.label_loss:.4f} nats a token there, {others}."
    )
