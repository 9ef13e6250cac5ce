"""
The records of the index in one object, so that thousands need no request each.

Only a copy: a listing tells the etag that each record has now, and what was packed under another
one is read anew. Whoever finds much of it stale packs it again; of two that do so at once either
is right.
"""

from __future__ import annotations

import gzip
import logging
import zlib
from collections.abc import Mapping

from pydantic import Field, ValidationError

from ftctl.contract.layout import INDEX_PACK
from ftctl.contract.status import IndexRecord, Stored
from ftctl.errors import StorageError
from ftctl.storage.base import NotFoundError, Store

_log = logging.getLogger(__name__)

# As many requests as a list may make: about a quarter of a second.
STALE = 200


class Packed(Stored):
    """A record, and the etag that its object had."""

    etag: str
    record: IndexRecord


class _Pack(Stored):
    records: dict[str, Packed] = Field(description="by key of the index")


def read_pack(store: Store) -> dict[str, Packed]:
    """Return the packed records by key; none where there is no pack, or a damaged one."""
    try:
        text = gzip.decompress(store.read(INDEX_PACK))
        return _Pack.model_validate_json(text).records
    except NotFoundError:
        return {}
    except (OSError, EOFError, zlib.error, ValidationError):
        _log.debug("%s/%s is damaged, and is written anew", store.url, INDEX_PACK)
        return {}


def write_pack(store: Store, records: Mapping[str, Packed]) -> None:
    """Pack records anew; who may not write does without."""
    text = _Pack(records=dict(records)).model_dump_json().encode()
    try:
        store.write(INDEX_PACK, gzip.compress(text, compresslevel=1, mtime=0))
    except StorageError as error:
        _log.debug("the index was not packed: %s", error)
