"""The adapter that a run goes on from: an earlier run's, or one in a PEFT folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftctl.contract.checksum import file_sha256
from ftctl.contract.layout import ModelLayout, RunLayout
from ftctl.contract.modelfiles import files_revision
from ftctl.contract.names import is_run_id
from ftctl.contract.paths import expanded
from ftctl.contract.runfile import AdapterSource
from ftctl.contract.spec import ModelConfig
from ftctl.errors import ConfigError
from ftctl.storage.adapters import ADAPTER_FILES, SETTINGS
from ftctl.storage.base import Readable
from ftctl.storage.markers import read_marker

_KEY = "model.init_adapter"
# PEFT's name of a setting to ours: what is trained on must have the shape of what was trained.
_SHAPE = {
    "r": "lora_r",
    "lora_alpha": "lora_alpha",
    "target_modules": "lora_target_modules",
    "modules_to_save": "modules_to_save",
    "use_rslora": "use_rslora",
    "use_dora": "use_dora",
}


def find_adapter(model: ModelConfig, store: Readable, base_dir: Path) -> AdapterSource | None:
    """
    Resolve model.init_adapter; None where nothing is asked for.

    Raises:
        ConfigError: there is no such run or folder, the run has no adapter yet, or the adapter
            has another shape than the configuration's.
    """
    text = model.init_adapter
    if text is None:
        return None
    path = base_dir / expanded(text, _KEY)
    if is_run_id(text) and not path.is_dir():
        source, settings = _of_run(text, store)
    else:
        source, settings = _of_folder(text, path)
    _check_shape(model, settings, source.name)
    return source


def _of_run(run_id: str, store: Readable) -> tuple[AdapterSource, Mapping[str, Any]]:
    prefix = RunLayout(run_id).adapter
    marker = read_marker(store, prefix)
    if marker is None:
        raise ConfigError(
            f"the run {run_id} has no adapter in {store.url}",
            where=_KEY,
            hint="Name a run whose training is done (`ftctl list`), or a folder of PEFT.",
        )
    files = [(file.name, file.sha256) for file in marker.files if file.name in ADAPTER_FILES]
    settings = json.loads(store.read(prefix + SETTINGS))
    return AdapterSource(name=run_id, prefix=prefix, revision=files_revision(files)), settings


def _of_folder(text: str, path: Path) -> tuple[AdapterSource, Mapping[str, Any]]:
    missing = [name for name in ADAPTER_FILES if not (path / name).is_file()]
    if missing:
        raise ConfigError(
            f"{text!r} is no run, and no folder with {' and '.join(missing)}",
            where=_KEY,
            hint="Name a run of this store by its id, or a folder that PEFT saved.",
        )
    revision = files_revision((name, file_sha256(path / name)) for name in ADAPTER_FILES)
    settings = json.loads((path / SETTINGS).read_text(encoding="utf-8"))
    source = AdapterSource(
        name=text, prefix=ModelLayout(revision).root, revision=revision, path=str(path.resolve())
    )
    return source, settings


def _check_shape(model: ModelConfig, settings: Mapping[str, Any], name: str) -> None:
    other = {
        ours: settings.get(theirs)
        for theirs, ours in _SHAPE.items()
        if _plain(settings.get(theirs)) != _plain(getattr(model, ours))
    }
    if other:
        wanted = " ".join(f"model.{key}={_shown(key, value)}" for key, value in other.items())
        raise ConfigError(
            f"the adapter of {name} has another shape than the configuration's",
            where=_KEY,
            hint=f"Set {wanted}.",
        )


def _plain(value: Any) -> Any:
    """One form of what PEFT writes in several: no layers are null, what is off may be absent."""
    return (sorted(value) if isinstance(value, list) else value) or None


def _shown(key: str, value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(sorted(value))}]"
    if value is None:
        return "[]" if key == "modules_to_save" else "false"
    return str(value).lower()
