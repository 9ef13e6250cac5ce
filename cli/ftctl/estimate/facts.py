"""What an estimate is made from besides the configuration, and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, computed_field


@dataclass(frozen=True)
class Rows:
    """
    Lengths of the rows, in tokens.

    Attributes:
        train: of every training row.
        answers: of the longest answer.
        held_out: number of rows that are not trained on.
        exact: counted by the model's own tokenizer, not taken from characters.
    """

    train: Sequence[int]
    answers: int = 0
    held_out: int = 0
    exact: bool = False


class Phase(BaseModel):
    """A stretch of a stage, and what is in memory at its height, in bytes by part."""

    model_config = ConfigDict(frozen=True)

    name: str
    parts: dict[str, int]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def total(self) -> int:
        """Bytes in all."""
        return sum(self.parts.values())


class Estimate(BaseModel):
    """What a run will take. None, or an empty list, is what cannot be known here."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    model: str
    device: Literal["gpu", "cpu"] = Field(description="what the train stage computes on")
    gpus: int = Field(
        description="GPUs in all; each holds the whole base unless cluster.shard splits it"
    )
    parameters: int | None = None
    trainable: int | None = None
    batch_rows: int
    batch_tokens: int = Field(description="tokens of the longest row of a batch")
    recompute: bool | None = None
    memory: list[Phase] = Field(
        default_factory=list, description="of the train stage: a GPU's, or the machine's on a CPU"
    )
    train_host: dict[str, int] = Field(
        default_factory=dict, description="memory of the train stage outside the GPU, bytes by part"
    )
    convert_host: dict[str, int] = Field(
        default_factory=dict, description="memory of the convert stage, bytes by part"
    )
    train_disk: dict[str, int] = Field(default_factory=dict, description="bytes by part")
    convert_disk: dict[str, int] = Field(default_factory=dict, description="bytes by part")
    steps: int | None = None
    tokens: int | None = Field(None, description="tokens trained on, padding left out")
    seconds: float | None = Field(None, description="of training alone")
    tokens_per_s: float | None = None
    price: float | None = Field(None, description="of the training alone, by price_per_hour")
    gpu_memory: int | None = Field(None, description="bytes of one GPU, by the profile")
    savings: dict[str, int] = Field(
        default_factory=dict, description="setting to bytes that it would save at the highest phase"
    )
    notes: list[str] = Field(default_factory=list, description="what is not known, or is upper")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def peak(self) -> int | None:
        """Bytes of the highest phase."""
        return max((phase.total for phase in self.memory), default=None)

    @property
    def highest(self) -> Phase | None:
        """The phase that needs most."""
        return max(self.memory, key=lambda phase: phase.total, default=None)
