"""Runs as files in a folder that a git repository keeps: one folder a run, and a kustomization."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ftctl.contract.labels import STAGE
from ftctl.contract.yamltext import yaml_text
from ftctl.errors import ConfigError
from ftctl.storage.files import os_errors

KUSTOMIZATION = "kustomization.yaml"
_HEAD = "# Written by `ftctl render`, which replaces it.\n"
_KIND = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}


def write_run(folder: Path, run_id: str, objects: Sequence[dict[str, Any]]) -> list[Path]:
    """
    Write the objects of a run to folder/RUN-ID, and add that to the folder's kustomization.

    What an earlier rendering left for the run is removed; other runs, and what else stands in the
    folder's own kustomization, stay.

    Returns:
        The files, the folder's kustomization last.
    Raises:
        ConfigError: the folder's kustomization is not one.
        StorageError: the folder cannot be written.
    """
    own = folder / run_id
    texts = {_file_name(each): _HEAD + yaml_text(each) for each in objects}
    texts[KUSTOMIZATION] = _HEAD + yaml_text({**_KIND, "resources": list(texts)})
    with os_errors(str(folder)):
        own.mkdir(parents=True, exist_ok=True)
        for left in own.glob("*.yaml"):
            if left.name not in texts:
                left.unlink()
        for name, text in texts.items():
            (own / name).write_text(text, encoding="utf-8")
        _list_run(folder, run_id)
    return [*(own / name for name in texts), folder / KUSTOMIZATION]


def _file_name(body: dict[str, Any]) -> str:
    """By kind and stage: an object's name changes with its content, its file does not."""
    stage = body["metadata"]["labels"].get(STAGE)
    kind = str(body["kind"]).lower()
    return f"{kind}-{stage}.yaml" if stage else f"{kind}.yaml"


def _list_run(folder: Path, run_id: str) -> None:
    """The folder's kustomization, with this run and without runs whose folder is gone."""
    import yaml

    path = folder / KUSTOMIZATION
    content: Any = dict(_KIND)
    if path.exists():
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise _no_kustomization(path) from error
    listed = content.get("resources") or [] if isinstance(content, dict) else None
    if not isinstance(listed, list):
        raise _no_kustomization(path)
    there = [name for name in listed if "://" in str(name) or (folder / str(name)).exists()]
    if there == listed and run_id in listed:
        return
    resources = there if run_id in there else [*there, run_id]
    path.write_text(yaml_text({**content, "resources": resources}), encoding="utf-8")


def _no_kustomization(path: Path) -> ConfigError:
    return ConfigError(
        "this is no kustomization with a list of resources",
        where=str(path),
        hint="Mend it, or render to another folder: -o DIR.",
    )
