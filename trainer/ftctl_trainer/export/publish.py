"""What a verified export leaves in the store: files, checksums, lineage, and `_SUCCESS` last."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ftctl.contract.checksum import file_sha256
from ftctl.contract.layout import RunLayout
from ftctl.contract.lineage import BaseModelRecord, FileRecord, Manifest, Marker
from ftctl.contract.pods import IMAGE_VARIABLES
from ftctl.contract.runfile import RunFile
from ftctl.contract.status import now
from ftctl.storage.base import Store
from ftctl.storage.files import os_errors
from ftctl.storage.markers import upload_folder, write_marker
from ftctl_trainer.context import Lease
from ftctl_trainer.export.chat_formats import KnownChat
from ftctl_trainer.export.modelfile import modelfile

CHECKSUMS = "SHA256SUMS"
_PACKAGES = ("ftctl", "xllamacpp", "gguf", "numpy", "safetensors", "bitsandbytes")


def gguf_names(run_id: str, outfile: str | None, qtypes: Sequence[str]) -> dict[str, str]:
    """
    Name the file of each type: model.outfile, with the type in it where there are several;
    else the run's name and the type.
    """
    if outfile is None:
        name = run_id.rpartition("-")[0]
        return {qtype: f"{name}-{qtype.upper()}.gguf" for qtype in qtypes}
    stem = outfile.removesuffix(".gguf")
    if len(qtypes) == 1:
        return {qtypes[0]: f"{stem}.gguf"}
    return {qtype: f"{stem}-{qtype.upper()}.gguf" for qtype in qtypes}


def adapter_name(run_id: str, outfile: str | None) -> str:
    """Name the GGUF of the adapter alone, as the others."""
    stem = outfile.removesuffix(".gguf") if outfile else run_id.rpartition("-")[0]
    return f"{stem}-adapter-F16.gguf"


def write_companions(
    folder: Path, names: dict[str, list[str]], chat: KnownChat | None, system: str | None
) -> None:
    """
    Write a Modelfile for each GGUF of a folder; the first one has the plain name.

    Args:
        names: a file's parts, by quantization type.
    """
    for number, (qtype, parts) in enumerate(names.items()):
        target = "Modelfile" if number == 0 else f"Modelfile.{qtype.upper()}"
        (folder / target).write_text(modelfile(parts, chat, system), encoding="utf-8")


def write_checksums(folder: Path) -> None:
    """Write SHA256SUMS over all other files of a folder, as `sha256sum -c` reads it."""
    files = sorted(path for path in folder.iterdir() if path.name != CHECKSUMS)
    lines = (f"{file_sha256(path)}  {path.name}\n" for path in files)
    (folder / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def copy_out(folder: Path, target: Path) -> None:
    """
    Copy all files of a folder to paths.final_weights_path, each by a rename.

    Raises:
        StorageError: the target cannot be written.
    """
    with os_errors(str(target)):
        target.mkdir(parents=True, exist_ok=True)
        for file in sorted(folder.iterdir()):
            part = target / f".{file.name}.part"
            shutil.copyfile(file, part)
            part.replace(target / file.name)


@dataclass(frozen=True)
class Publisher:
    """Writes a run's results, under one lease."""

    run: RunFile
    store: Store
    lease: Lease

    @property
    def layout(self) -> RunLayout:
        """Keys of the run."""
        return RunLayout(self.run.run_id)

    def files(self, folder: Path) -> list[FileRecord]:
        """Upload the GGUF folder, and mark it complete."""
        records = upload_folder(self.store, folder, self.layout.gguf)
        self.complete(self.layout.gguf, records)
        return records

    def complete(self, prefix: str, files: Sequence[FileRecord]) -> None:
        """Mark what was uploaded below a prefix as complete."""
        self.lease.check()
        write_marker(self.store, prefix, files, self.lease.fence)

    def manifest(
        self, inputs: dict[str, Marker], files: Mapping[str, Sequence[FileRecord]]
    ) -> bytes:
        """
        Write manifest.json and return it.

        Args:
            inputs: folder below the run to the marker it was read under.
            files: what was published, by prefix.
        """
        run = self.run
        record = Manifest(
            run_id=run.run_id,
            content_hash=run.content_hash,
            created=now(),
            base=BaseModelRecord(name=run.model.name, revision=run.model.revision),
            dataset=run.data,
            method=run.config.training.method,
            inputs=[
                file.model_copy(update={"name": f"{folder}/{file.name}"})
                for folder, marker in inputs.items()
                for file in marker.files
            ],
            outputs=[
                *(
                    file.model_copy(update={"name": self._name(prefix + file.name)})
                    for prefix, found in files.items()
                    for file in found
                ),
                *self._documents(),
            ],
            images=_images(),
            versions={f"convert.{name}": _version(name) for name in _PACKAGES},
            base_is_quantized=run.model.kind == "gguf",
        )
        body = record.model_dump_json(indent=2).encode()
        self.store.write(self.layout.manifest, body)
        return body

    def success(self, manifest: bytes) -> None:
        """Write _SUCCESS: everything else is there. It names the manifest by its sha256."""
        self.lease.check()
        digest = hashlib.sha256(manifest).hexdigest()
        body = json.dumps({"fence": self.lease.fence, "manifest_sha256": digest})
        self.store.write(self.layout.success, body.encode())

    def _name(self, key: str) -> str:
        return key.removeprefix(self.layout.root)

    def _documents(self) -> list[FileRecord]:
        """verify.json, and eval.json where there is one; the report shows the manifest itself."""
        found = []
        for key in (self.layout.verification, self.layout.evaluation):
            if self.store.stat(key) is not None:
                body = self.store.read(key)
                found.append(FileRecord.of(self._name(key), body))
        return found


def _images() -> dict[str, str]:
    """The images that the pods were started from, as their manifests name them."""
    found = {stage: os.environ.get(name) for stage, name in IMAGE_VARIABLES.items()}
    return {stage: image for stage, image in found.items() if image}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # a checkout on PYTHONPATH
        return "unknown"
