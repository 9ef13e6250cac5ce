"""Whether somebody works on a run."""

from __future__ import annotations

import time

from pydantic import ValidationError

from ftctl.contract.layout import RunLayout
from ftctl.storage.base import NotFoundError, Store
from ftctl.storage.holder import is_gone
from ftctl.storage.lease import LeaseRecord


def worked_on(store: Store, run_id: str) -> str | None:
    """
    Who holds the run's lease, or None: it has none, or it has expired, or its process is dead.

    A record that cannot be read counts as held: nothing may be taken from under a writer.
    """
    try:
        record = LeaseRecord.model_validate_json(store.read(RunLayout(run_id).lease))
    except NotFoundError:
        return None
    except ValidationError:
        return "somebody"
    if record.expires <= time.time() or is_gone(record.holder):
        return None
    return record.holder
