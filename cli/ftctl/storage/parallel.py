"""Work in threads, where the first failure stops the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


def each(action: Callable[[T], R], items: Iterable[T], *, threads: int = 16) -> list[R]:
    """Call `action` with every item, in parallel; return the results in the items' order."""
    with ThreadPoolExecutor(threads, thread_name_prefix="ftctl-each") as pool:
        futures = [pool.submit(action, item) for item in items]
        try:
            return [future.result() for future in futures]
        finally:
            abandon(futures)


def abandon(futures: Iterable[Future[Any]]) -> None:
    """Cancel what has not begun and wait for the rest, so that nothing works on behind."""
    futures = list(futures)
    for future in futures:
        future.cancel()
    wait(futures)
