"""`ftctl version`."""

from __future__ import annotations

import json
import platform
from importlib import metadata

import typer

from ftctl.commands.options import AsJson

# What decides how a run goes, besides ftctl; absent ones come with an extra.
_PACKAGES = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "bitsandbytes",
    "gguf",
    "xllamacpp",
    "hydra-core",
    "pydantic",
    "boto3",
)


def version(as_json: AsJson = False) -> None:
    """Print the version of ftctl and of what it works with.

    Example: ftctl version --json
    """
    versions = {"ftctl": _installed("ftctl") or "-", "python": platform.python_version()}
    versions |= {name: _installed(name) or "-" for name in _PACKAGES}
    if as_json:
        found = {name: None if text == "-" else text for name, text in versions.items()}
        typer.echo(json.dumps(found))
        return
    width = max(map(len, versions))
    for name, text in versions.items():
        typer.echo(f"{name:{width}}  {text}")


def _installed(package: str) -> str | None:
    """The installed version, without importing the package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
