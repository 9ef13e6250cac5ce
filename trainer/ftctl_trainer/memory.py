"""How this process asks the system for memory, and when Python looks for what may go."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER = 2**31 - 1


def keep_freed_memory() -> None:
    """
    Let glibc keep what is freed, instead of giving large blocks back and asking for them again.

    On a CPU every step frees and takes the same tensors, and the kernel clears each page anew.
    Without glibc nothing changes.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, _NEVER)


@contextmanager
def importing() -> Iterator[None]:
    """
    Import large libraries without looking for garbage.

    They make half a million objects that stay, and Python's collector goes through them again and
    again: a quarter of the time that torch and transformers take. What is there in the end is left
    alone by later collections, too.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
