"""Tries a store out: what runs need of it is done once, with an object that is removed again."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

from ftctl.errors import FtctlError, StorageError
from ftctl.storage.base import ConflictError, Store

PREFIX = "doctor/"
_CONTENT = b"written by `ftctl doctor`, and removed at once\n"


def probe(store: Store) -> None:
    """
    Write, list, read and remove an object, and see that a conditional write is refused.

    Raises:
        StorageError: the store cannot do it, or not with these credentials.
    """
    key = f"{PREFIX}{secrets.token_hex(8)}.txt"
    store.write(key, _CONTENT, if_absent=True)
    try:
        if store.read(key) != _CONTENT or [item.key for item in store.list(key)] != [key]:
            raise StorageError(
                "the store does not give back what was written", where=f"{store.url}/{key}"
            )
        _need_conditions(store, key)
    finally:
        store.delete(key)


def _need_conditions(store: Store, key: str) -> None:
    try:
        store.write(key, _CONTENT, if_absent=True)
    except ConflictError:
        return
    raise StorageError(
        "the store ignores conditional writes, which keep two runs from writing one result",
        where=store.url,
        hint="Use an S3 server that has them (If-None-Match on PutObject).",
    )


def main(config: Path) -> int:
    """
    Try the store of a run's config file from where this runs; return the exit code.

    What is wrong goes to stdout, which becomes the pod's termination message.
    """
    from ftctl.storage.open import open_store
    from ftctl.storage.runs import from_yaml

    try:
        run = from_yaml(config.read_bytes(), where=str(config))
        probe(open_store(run.config.storage))
    except FtctlError as error:
        sys.stdout.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
