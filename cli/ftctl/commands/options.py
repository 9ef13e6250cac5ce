"""Arguments and options that several commands have, each written once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Overrides: a key (training.learning_rate=1e-4) or a choice (storage=s3).",
        show_default=False,
    ),
]
ConfigDir = Annotated[
    Path | None,
    typer.Option(
        "--config-dir",
        "-cd",
        metavar="DIR",
        help="Folder of your own groups; a config.yaml there is laid over the defaults.",
        show_default=False,
    ),
]
ConfigName = Annotated[
    str | None,
    typer.Option(
        "--config-name",
        "-cn",
        metavar="NAME",
        help="Your whole configuration: a file in --config-dir, else a path.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
