"""A data set by its content: canonical bytes, their digests, and the copy in the store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Protocol

from ftctl.contract.layout import DatasetLayout
from ftctl.contract.lineage import DatasetRecord
from ftctl.data.example import Example
from ftctl.data.objects import ObjectStore
from ftctl.errors import DataError, StorageError


class Splits(Protocol):
    """A loaded data set."""

    @property
    def splits(self) -> Mapping[str, Sequence[Example]]:
        """Rows by the name of their split."""

    @property
    def sources(self) -> Sequence[str]:
        """File names, for people."""


def canonical_jsonl(examples: Sequence[Example]) -> bytes:
    """The rows as canonical JSON, one a line, UTF-8."""
    return "".join(f"{example.canonical()}\n" for example in examples).encode()


def parse_jsonl(data: bytes) -> list[Example]:
    """The inverse of `canonical_jsonl`."""
    return [Example.model_validate_json(line) for line in data.split(b"\n") if line]


def dataset_record(dataset: Splits) -> DatasetRecord:
    """Describe a data set by its content; file names are outside the digest."""
    return _record(dataset, _bodies(dataset))


def push_dataset(store: ObjectStore, dataset: Splits) -> DatasetRecord:
    """
    Put a data set into the store, unless it is there; digest.json last, so that it covers the rest.

    Raises:
        StorageError: the store refused.
    """
    bodies = _bodies(dataset)
    record = _record(dataset, bodies)
    layout = DatasetLayout(record.digest)
    if store.stat(layout.record) is None:
        for name, body in bodies.items():
            store.write(layout.split(name), body)
        store.write(layout.record, record.model_dump_json().encode())
    return record


def pull_record(store: ObjectStore, digest: str) -> DatasetRecord:
    """
    What the store says of a data set.

    Raises:
        DataError: the store has no data set of this digest.
    """
    layout = DatasetLayout(digest)
    if store.stat(layout.record) is None:
        raise DataError(
            f"there is no data set {digest}",
            where=store.url,
            hint="Upload it with `ftctl data push`, or name the store it is in: storage.url=...",
        )
    return DatasetRecord.model_validate_json(store.read(layout.record))


def pull_split(store: ObjectStore, digest: str, name: str) -> list[Example]:
    """
    Read a split back, checked against its sha256.

    Raises:
        DataError: there is no such data set, or it has no such split.
        StorageError: what the store has is not what was put there.
    """
    record = pull_record(store, digest)
    if name not in record.splits:
        raise DataError(
            f"the data set has no split {name!r}; it has {', '.join(record.splits)}",
            where=f"sha256:{digest}",
        )
    key = DatasetLayout(digest).split(name)
    body = store.read(key)
    found = hashlib.sha256(body).hexdigest()
    if found != record.splits[name]:
        raise StorageError(
            f"damaged: sha256 is {found}, and should be {record.splits[name]}",
            where=f"{store.url.rstrip('/')}/{key}",
            hint="Delete digest.json beside it and push the data set again.",
        )
    return parse_jsonl(body)


def _bodies(dataset: Splits) -> dict[str, bytes]:
    return {name: canonical_jsonl(rows) for name, rows in dataset.splits.items()}


def _record(dataset: Splits, bodies: Mapping[str, bytes]) -> DatasetRecord:
    digests = {name: hashlib.sha256(body).hexdigest() for name, body in bodies.items()}
    names = json.dumps(digests, sort_keys=True, separators=(",", ":"))
    return DatasetRecord(
        digest=hashlib.sha256(names.encode()).hexdigest(),
        splits=digests,
        rows={name: len(rows) for name, rows in dataset.splits.items()},
        sources=list(dataset.sources),
    )
