"""Paths as people write them in a configuration."""

from __future__ import annotations

from pathlib import Path

from ftctl.errors import ConfigError

# NAME_MAX of Linux and macOS, https://man7.org/linux/man-pages/man7/path_resolution.7.html
_NAME_BYTES = 255
_SHOWN = 60


def expanded(text: str, key: str) -> Path:
    """
    The path with `~` and `~user` replaced by a home folder.

    Args:
        key: the configuration key it stands in, for the message.
    Raises:
        ConfigError: there is no such user, no home folder is known, or a name is too long.
    """
    if any(len(part.encode(errors="replace")) > _NAME_BYTES for part in text.split("/")):
        raise ConfigError(
            f"'{text[:_SHOWN]}...' has a name of more than {_NAME_BYTES} bytes, "
            "which no file system takes",
            where=key,
            hint="Give a path, not what stands in the file.",
        )
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ConfigError(
            f"{text!r} begins with a home folder that is not known",
            where=key,
            hint="Write the path out, from /.",
        ) from error
