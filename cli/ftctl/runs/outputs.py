"""Looks whether a run's own copies can be written, before hours are spent on what goes there."""

from __future__ import annotations

import os
from pathlib import Path

from ftctl.contract.paths import expanded
from ftctl.contract.spec import Config
from ftctl.errors import ConfigError


def check_outputs(config: Config, base_dir: Path) -> None:
    """
    Refuse paths outside the store that can never be written. Nothing is created.

    Raises:
        ConfigError: a file stands where a folder is needed or the reverse, or no permission.
    """
    wanted = {
        "paths.final_weights_path": config.paths.final_weights_path,
        "paths.merged_model_path": config.paths.merged_model_path,
    }
    for key, folder in wanted.items():
        if folder:
            _check_folder(key, base_dir / expanded(folder, key))
    file = config.testing.output_test_file
    if file:
        path = base_dir / expanded(file, "testing.output_test_file")
        if path.is_dir():
            raise ConfigError(
                f"{path} is a folder",
                where="testing.output_test_file",
                hint=f"Name a file, such as {path}/answers.json.",
            )
        _check_folder("testing.output_test_file", path.parent)


def _check_folder(key: str, folder: Path) -> None:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir():
        raise ConfigError(
            f"{there} is a file, where a folder is needed", where=key, hint="Name another place."
        )
    if not os.access(there, os.W_OK | os.X_OK) or os.statvfs(there).f_flag & os.ST_RDONLY:
        raise ConfigError(
            f"{there} cannot be written by this user",
            where=key,
            hint="Make it writable, or name another place.",
        )
