"""manifest.json: where everything in a finished run came from."""

from __future__ import annotations

import hashlib
from datetime import datetime

from pydantic import Field

from ftctl.contract.status import Stored


class FileRecord(Stored):
    """A file in the store, below the prefix that names it."""

    name: str
    size: int = Field(description="bytes")
    sha256: str

    @classmethod
    def of(cls, name: str, body: bytes) -> FileRecord:
        """The record of a file with this content."""
        return cls(name=name, size=len(body), sha256=hashlib.sha256(body).hexdigest())


class Marker(Stored):
    """Content of a completion marker: what it covers, and who wrote it."""

    files: list[FileRecord]
    fence: int = Field(description="fencing number of the lease under which it was written")
    written: datetime


class BaseModelRecord(Stored):
    """The base model of a run."""

    name: str
    revision: str = Field(description="commit at the hub, or sha256 of a local model's files")


class DatasetRecord(Stored):
    """A data set's digest.json. Rows are counted after bad ones were left out."""

    digest: str = Field(description="sha256 over the names and sha256 of the splits")
    splits: dict[str, str] = Field(description="split name to sha256 of its canonical JSONL")
    rows: dict[str, int]
    sources: list[str] = Field(default_factory=list, description="file names, for people")


class Manifest(Stored):
    """Lineage of a published run."""

    schema_version: int = 1
    run_id: str
    content_hash: str
    created: datetime
    base: BaseModelRecord
    dataset: DatasetRecord
    method: str
    inputs: list[FileRecord] = Field(
        description="adapter and reference files read by the convert stage"
    )
    outputs: list[FileRecord] = Field(
        description="every published file, keys below the run's prefix"
    )
    images: dict[str, str] = Field(
        default_factory=dict,
        description="stage to image, by digest where known; empty outside a cluster",
    )
    versions: dict[str, str] = Field(default_factory=dict, description="stage.package to version")
    base_is_quantized: bool = False
