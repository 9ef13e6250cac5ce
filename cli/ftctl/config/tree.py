"""The folders that configuration files come from: the user's, then ours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ftctl import resources
from ftctl.config.nearest import nearest
from ftctl.config.sources import shown_path
from ftctl.errors import ConfigError

MAIN = "config"


@dataclass(frozen=True)
class Tree:
    """
    Where to look for groups, and which file is the user's whole configuration, if any.

    The user's folder comes first: a file of theirs stands in for one of ours of the same name.
    """

    ours: Path
    theirs: Path | None = None
    main: Path | None = None

    @property
    def folders(self) -> tuple[Path, ...]:
        return (self.theirs, self.ours) if self.theirs else (self.ours,)

    @property
    def our_main(self) -> Path:
        return self.ours / f"{MAIN}.yaml"

    def groups(self) -> dict[str, dict[str, Path]]:
        """Group to choice to file; groups and choices in alphabetical order."""
        found: dict[str, dict[str, Path]] = {}
        for folder in reversed(self.folders):
            for path in _yaml_files(folder):
                group = path.parent.relative_to(folder).as_posix()
                found.setdefault(group, {})[path.stem] = path
        return {group: dict(sorted(found[group].items())) for group in sorted(found)}

    def file(self, name: str) -> Path | None:
        """The file that Hydra takes for `group/choice`."""
        for folder in self.folders:
            path = folder / f"{name.removesuffix('.yaml')}.yaml"
            if path.is_file():
                return path
        return None


def open_tree(config_dir: Path | None = None, config_name: str | None = None) -> Tree:
    """
    Find the folders and the user's whole configuration.

    Args:
        config_dir: the user's folder of groups. Its config.yaml, if there is one, is their whole
            configuration unless `config_name` names another.
        config_name: a file in `config_dir`, with or without .yaml; without `config_dir` a path.
    Raises:
        ConfigError: the folder or the file does not exist.
    """
    ours = resources.conf_dir()
    if config_name is not None and config_dir is None:
        named = Path(config_name)
        config_dir, config_name = named.parent, named.name
    if config_dir is None:
        return Tree(ours)
    if not config_dir.is_dir():
        raise ConfigError(
            "is no folder" if config_dir.exists() else "there is no such folder",
            where=shown_path(config_dir),
            hint="Give the folder of your configuration files with --config-dir.",
        )
    folder = config_dir.resolve()
    return Tree(ours, folder, _main(folder, config_name))


def _main(folder: Path, config_name: str | None) -> Path | None:
    if config_name is None:
        main = folder / f"{MAIN}.yaml"
        return main if main.is_file() else None
    path = folder / config_name
    if path.suffix not in (".yaml", ".yml"):
        path = folder / f"{config_name}.yaml"
    if path.is_file():
        return path
    known = sorted(file.stem for file in folder.glob("*.yaml"))
    close = nearest(path.stem, known)
    listed = f"There: {', '.join(known)}." if known else "There is no .yaml file in that folder."
    raise ConfigError(
        "there is no such configuration file",
        where=shown_path(path),
        hint=f"Did you mean {close}? {listed}" if close else listed,
    )


def _yaml_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*.yaml")):
        parts = path.relative_to(folder).parts
        if len(parts) > 1 and not any(part.startswith(".") for part in parts):
            yield path
