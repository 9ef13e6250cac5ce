"""Which files a run has to offer, and what each must be."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from pydantic import ValidationError

from ftctl.contract.layout import RunLayout
from ftctl.contract.lineage import FileRecord, Manifest
from ftctl.errors import RunFailedError, StorageError
from ftctl.storage.base import NotFoundError, Store
from ftctl.storage.keys import check_key
from ftctl.storage.markers import read_marker

What = Literal["gguf", "adapter", "merged", "report", "all"]
WHATS: tuple[What, ...] = get_args(What)
_GGUF, _ADAPTER, _MERGED = "gguf/", "adapter/", "merged/"


@dataclass(frozen=True)
class Offered:
    """
    A file of a run.

    Attributes:
        key: in the store.
        name: below the folder that it is fetched to.
        size: bytes.
        sha256: None for the documents that no manifest covers.
    """

    key: str
    name: str
    size: int
    sha256: str | None


def published_files(store: Store, run_id: str, what: What) -> list[Offered]:
    """
    The files of a published run, as its manifest has them.

    Raises:
        RunFailedError: the run is not published.
        StorageError: its manifest is not the one that was published, or cannot be read.
    """
    layout = RunLayout(run_id)
    manifest = _manifest(store, layout)
    wanted: list[Offered] = []
    if what in ("gguf", "all"):
        wanted += _offered(layout, manifest.outputs, _GGUF, strip=True)
    if what in ("adapter", "all"):
        wanted += _offered(layout, manifest.inputs, _ADAPTER)
    if what == "merged":
        wanted += _merged(layout, manifest.outputs)
    if what == "all":
        rest = [file for file in manifest.outputs if not file.name.startswith(_GGUF)]
        wanted += _offered(layout, rest, "")
        wanted += _documents(store, layout, [layout.manifest])
    if what in ("report", "all"):
        wanted += _documents(store, layout, [layout.report])
    return wanted


def partial_files(store: Store, run_id: str, what: What) -> list[Offered]:
    """
    What is complete of a run that is not published; nothing in it is proven.

    Raises:
        RunFailedError: nothing of it is.
    """
    layout = RunLayout(run_id)
    wanted: list[Offered] = []
    folders = {_GGUF: layout.gguf, _ADAPTER: layout.adapter, _MERGED: layout.merged}
    for name, prefix in folders.items():
        if what not in (name.rstrip("/"), "all"):
            continue
        marker = read_marker(store, prefix)
        if marker is not None:
            files = [file.model_copy(update={"name": name + file.name}) for file in marker.files]
            wanted += _offered(layout, files, name, strip=name == _GGUF)
    if what in ("report", "all"):
        wanted += _documents(store, layout, [layout.report, layout.verification, layout.evaluation])
    if not wanted:
        raise RunFailedError(
            f"nothing of what was asked for ({what}) is complete yet",
            where=run_id,
            hint=f"`ftctl status {run_id}` shows how far the run is.",
        )
    return wanted


def _merged(layout: RunLayout, files: Iterable[FileRecord]) -> list[Offered]:
    found = _offered(layout, files, _MERGED)
    if not found:
        raise RunFailedError(
            "the run has no merged model",
            where=layout.run_id,
            hint="quantize.save_merged=true publishes one; it makes another run.",
        )
    return found


def _manifest(store: Store, layout: RunLayout) -> Manifest:
    try:
        success = json.loads(store.read(layout.success))
    except NotFoundError as error:
        raise RunFailedError(
            "the run has published nothing: its files are not proven",
            where=layout.run_id,
            hint=f"See `ftctl status {layout.run_id}`; --partial fetches what is complete.",
        ) from error
    except ValueError:  # made by hand: the manifest is taken as it is
        success = {}
    try:
        body = store.read(layout.manifest)
    except NotFoundError as error:
        raise _damaged(store, layout, "is missing, though the run was published") from error
    wanted = success.get("manifest_sha256") if isinstance(success, dict) else None
    if wanted and hashlib.sha256(body).hexdigest() != wanted:
        raise _damaged(store, layout, "is not the manifest that was published")
    try:
        return Manifest.model_validate_json(body)
    except ValidationError as error:
        raise _damaged(store, layout, "cannot be read") from error


def _damaged(store: Store, layout: RunLayout, what: str) -> StorageError:
    return StorageError(
        what,
        where=f"{store.url}/{layout.manifest}",
        hint=f"Something changed it since. Delete {layout.success} and resume the run.",
    )


def _offered(
    layout: RunLayout, files: Iterable[FileRecord], below: str, *, strip: bool = False
) -> list[Offered]:
    found = []
    for file in files:
        if not file.name.startswith(below):
            continue
        check_key(file.name, where=layout.manifest)  # a name decides where a file is written
        name = file.name.removeprefix(below) if strip else file.name
        found.append(Offered(layout.root + file.name, name, file.size, file.sha256))
    return found


def _documents(store: Store, layout: RunLayout, keys: Iterable[str]) -> list[Offered]:
    found = ((key, store.stat(key)) for key in keys)
    return [
        Offered(key, key.removeprefix(layout.root), info.size, None) for key, info in found if info
    ]
