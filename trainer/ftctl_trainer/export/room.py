"""Whether the disk has room for an export, before it begins."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from ftctl.errors import StorageError
from ftctl.estimate.host import file_bytes
from ftctl_trainer.export.tensors import Tensor

# Of what the estimate says: it is right within a tenth, and nobody is to be turned away by error.
_SURE = 0.9


def check_room(folder: Path, tensors: Iterable[Tensor], qtypes: Iterable[str]) -> None:
    """
    Refuse an export whose files do not fit beside each other.

    Args:
        tensors: of the merged model; only their shapes are looked at.
        qtypes: of every file that there will be at once.
    Raises:
        StorageError: there is less room than they need.
    """
    weights = sum(tensor.size for tensor in tensors)
    needed = sum(file_bytes(weights, qtype) for qtype in qtypes)
    free = shutil.disk_usage(folder).free
    if free < _SURE * needed:
        raise StorageError(
            f"the files need about {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free",
            where=str(folder),
            hint="Free some, set TMPDIR to a larger disk, raise the stage's ephemeral storage "
            "(`ftctl estimate` shows what it needs), or export fewer types at once.",
        )
