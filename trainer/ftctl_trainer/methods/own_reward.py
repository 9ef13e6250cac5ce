"""A reward that the user wrote: Python that came with the run."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from ftctl.errors import ConfigError


def load_function(text: str, file: str, name: str) -> Callable[[str, dict[str, Any]], Any]:
    """
    Run a file and return one of its functions, which takes an answer and its row.

    What the function raises comes out as a ConfigError with the line of the file.

    Raises:
        ConfigError: the file fails, or has no such function.
    """
    scope: dict[str, Any] = {"__name__": "reward", "__file__": file}
    try:
        exec(compile(text, file, "exec"), scope)
    # Another's code: whatever it raises is the user's to read.
    except Exception as error:
        raise _failed("the reward's file fails", file, error) from error
    function = scope.get(name)
    if not callable(function):
        raise ConfigError(f"there is no function {name!r}", where=file)

    def call(answer: str, row: dict[str, Any]) -> Any:
        try:
            return function(answer, row)
        except Exception as error:
            raise _failed(
                f"the reward {name!r} fails on row {row.get('id')}", file, error
            ) from error

    return call


def _failed(what: str, file: str, error: Exception) -> ConfigError:
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == file
    ]
    line = getattr(error, "lineno", None) if isinstance(error, SyntaxError) else None
    at = line or (lines[-1] if lines else None)
    return ConfigError(
        f"{what}: {type(error).__name__}: {error}",
        where=f"{file}:{at}" if at else file,
        hint="Mend the file and submit again: another file makes another run.",
    )
