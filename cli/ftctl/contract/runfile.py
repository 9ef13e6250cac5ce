"""The one file a stage starts from: config.yaml in the store, a ConfigMap in a cluster."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from ftctl.contract.lineage import DatasetRecord
from ftctl.contract.spec import Config
from ftctl.contract.status import Stored

SCHEMA_VERSION = 1


class ModelSource(Stored):
    """A base model that was found: what was asked for, and exactly which."""

    name: str = Field(description="as asked for in model.model_name")
    kind: Literal["hub", "folder", "gguf"]
    path: str | None = Field(None, description="folder or file on this machine; null for the hub")
    revision: str = Field(description="hub commit, or sha256 of the local files")


class AdapterSource(Stored):
    """An adapter that a run goes on from, and where the store has it."""

    name: str = Field(description="as asked for in model.init_adapter")
    prefix: str = Field(description="where in the store its files and their marker are")
    revision: str = Field(description="sha256 of its files")
    path: str | None = Field(None, description="folder on this machine; null for another run's")


class RunFile(Stored):
    """A run, resolved: nothing in it is looked up again. It holds no secret."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    content_hash: str
    nonce: str | None = None
    model: ModelSource
    init_adapter: AdapterSource | None = None
    data: DatasetRecord
    template: str = Field(description="text of the prompt layout (Jinja)")
    reward_files: dict[str, str] = Field(
        default_factory=dict, description="texts of the files that grpo.rewards names"
    )
    created: datetime | None = Field(
        None, description="when the store first saw the run; outside its identity"
    )
    config: Config
