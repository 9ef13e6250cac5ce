"""Questions before anything that spends money or ends somebody's work."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ftctl.errors import UsageError

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def confirm(question: str, *, yes: bool) -> None:
    """
    Ask on stderr, unless `yes`; an answer other than yes ends the command with exit code 1.

    Raises:
        UsageError: there is nobody to answer.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(
            f"{question} Nobody can answer: this is no terminal",
            hint="Say --yes to go on without the question, or --dry-run to see the plan.",
        )
    typer.confirm(question, abort=True, err=True)
