"""Small file systems in memory, to be filled or made read-only."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def disk_of(mib: int, place: Path) -> Iterator[Path]:
    """Mount a file system of `mib` MiB at a new folder; skips the test where nobody may."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("file systems cannot be mounted here (needs root)")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def make_read_only(disk: Path) -> None:
    """From now on nothing can be written, not even by root."""
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
