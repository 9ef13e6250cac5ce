"""What all sections of the configuration share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """What a user writes is strict: unknown keys are errors; a checked config never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())
