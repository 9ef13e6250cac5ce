"""The folder that keeps base models between runs, if it outlives them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ftctl.errors import StorageError


def cache_dir() -> Path:
    """FTCTL_CACHE, else ~/.cache/ftctl."""
    named = os.environ.get("FTCTL_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "ftctl"


def models_dir() -> Path:
    """Where models are, each in a folder named by its sha256; made if it is not there."""
    models = cache_dir() / "models"
    with cache_errors():
        models.mkdir(parents=True, exist_ok=True)
    return models


@contextmanager
def cache_errors() -> Iterator[None]:
    """Turn an OSError of the block into a StorageError about the cache."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"the model cache cannot be written: {error.strerror or error}",
            where=str(cache_dir()),
            hint="Set FTCTL_CACHE to a folder with room.",
        ) from error


@contextmanager
def sole_user(path: Path) -> Iterator[None]:
    """Keep other processes out of the block; the lock goes with the process that holds it."""
    with cache_errors():
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        with cache_errors():
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
