"""A run's files as an OCI artifact: a layer a file, named so that `oras pull` restores them."""

from __future__ import annotations

import hashlib
import io
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ftctl.contract.lineage import FileRecord, Manifest
from ftctl.errors import StorageError
from ftctl_trainer.push.registry import MANIFEST_TYPE, Registry
from ftctl_trainer.stop import end_if_stopped

ARTIFACT_TYPE = "application/vnd.ftctl.model.v1"
# https://github.com/opencontainers/image-spec/blob/main/manifest.md#guidance-for-an-empty-descriptor
_EMPTY = b"{}"
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
_LAYER_TYPES = {".gguf": "application/vnd.ftctl.model.gguf", ".md": "text/markdown"}
_TITLE = "org.opencontainers.image.title"


def push_artifact(
    registry: Registry,
    tag: str,
    files: Sequence[tuple[Path, FileRecord]],
    manifest: Manifest,
    stop: threading.Event,
) -> str:
    """
    Push files, those that are not there yet, and then the manifest that names them.

    Args:
        manifest: of the run.
    Returns:
        The digest of the artifact's manifest.
    Raises:
        StorageError: no access, the tag stands for something else, or the registry fails.
        StoppedError: `stop` was set.
    """
    _refuse_other(registry, tag)
    _push_blob(registry, _digest(_EMPTY), len(_EMPTY), None)
    for path, record in files:
        end_if_stopped(stop)
        _push_blob(registry, f"sha256:{record.sha256}", record.size, path)
    body = json.dumps(artifact(files, manifest), sort_keys=True).encode()
    registry.push_manifest(tag, body)
    return _digest(body)


def artifact(files: Sequence[tuple[Path, FileRecord]], manifest: Manifest) -> dict[str, Any]:
    """The artifact's manifest; equal files and runs have equal ones. Pure."""
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": ARTIFACT_TYPE,
        "config": {"mediaType": _EMPTY_TYPE, "digest": _digest(_EMPTY), "size": len(_EMPTY)},
        "layers": [
            {
                "mediaType": _LAYER_TYPES.get(Path(record.name).suffix, "text/plain"),
                "digest": f"sha256:{record.sha256}",
                "size": record.size,
                "annotations": {_TITLE: record.name},
            }
            for _, record in files
        ],
        "annotations": {
            _TITLE: manifest.run_id,
            "org.opencontainers.image.created": manifest.created.isoformat(),
            "org.opencontainers.image.version": manifest.content_hash,
        },
    }


def _refuse_other(registry: Registry, tag: str) -> None:
    found = registry.manifest_type(tag)
    if found not in (None, ARTIFACT_TYPE):
        place = f"{registry.reference.host}/{registry.reference.path}:{tag}"
        raise StorageError(
            f"the tag stands for something else there: {found}",
            where=f"publish.oci={place}",
            hint="Name another repository or tag: publish.oci=HOST/PATH:TAG.",
        )


def _push_blob(registry: Registry, digest: str, size: int, path: Path | None) -> None:
    if not registry.has_blob(digest):
        registry.push_blob(digest, size, lambda: path.open("rb") if path else io.BytesIO(_EMPTY))


def _digest(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"
