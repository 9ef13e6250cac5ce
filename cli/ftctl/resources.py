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
