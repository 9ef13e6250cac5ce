"""The question before something that cannot be taken back."""

from __future__ import annotations

import sys

import typer

from ftctl.errors import UsageError


def confirm(question: str, *, yes: bool) -> bool:
    """
    Ask; True with `--yes`.

    Raises:
        UsageError: nobody is there to answer.
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        raise UsageError(
            "there is no terminal to ask on",
            hint="Say --yes to go on without a question.",
        )
    return typer.confirm(question, err=True)
