"""Finds the files that come with ftctl: in a checkout first, else in the installed wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def conf_dir() -> Path:
    """The folder of Hydra's config groups: `conf/` of a checkout, or its copy inside the wheel."""
    checkout = _PACKAGE.parent.parent / "conf"
    if (checkout / "config.yaml").is_file():
        return checkout
    return _PACKAGE / "conf"


def template_dirs(config_dir: Path | None = None) -> tuple[Path, ...]:
    """Folders of the named prompt layouts: the user's own first, then ours."""
    trees = [config_dir, conf_dir()] if config_dir else [conf_dir()]
    return tuple(tree / "dataset" / "templates" for tree in trees)
