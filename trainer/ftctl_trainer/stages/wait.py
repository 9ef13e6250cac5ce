"""Holds the convert stage back, as the init container of its pod; needs little, and no torch."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from datetime import datetime

from pydantic import ValidationError

from ftctl.contract.layout import RunLayout
from ftctl.contract.runfile import RunFile
from ftctl.contract.status import Status, now
from ftctl.errors import StoppedError, StorageError
from ftctl.storage.base import NotFoundError, Store
from ftctl.storage.open import open_store
from ftctl_trainer.runner import is_handed_over, refuse_ended
from ftctl_trainer.stop import end_if_stopped

_log = logging.getLogger(__name__)

# The next look comes later and later, and this much later at most: a stage takes minutes or hours.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 15.0
# A store that does not answer for so long is a failure, which the Job counts and tries again.
PATIENCE_S = 900.0
# A pod that waits holds what its stage will need. Where the train stage does nothing for so long,
# it may be that very place that it lacks: the pod ends, and the Job's next one queues behind.
GIVE_WAY_S = 1800.0
# What it waits for is repeated in the log so often.
_SAY_EVERY_S = 600.0


def wait_for_handoff(
    run: RunFile, stop: threading.Event, *, give_way_s: float = GIVE_WAY_S
) -> None:
    """
    Return once the train stage has left its adapter and reference in the store.

    Raises:
        ConfigError: the run failed or was cancelled.
        StoppedError: `stop` was set, or the train stage was silent for `give_way_s`.
        StorageError: the store gave no answer for PATIENCE_S.
    """
    store = open_store(run.config.storage)
    keys = RunLayout(run.run_id)
    started = now()
    last_answer = time.monotonic()
    said_at = float("-inf")
    for pause_s in _pauses_s():
        end_if_stopped(stop)
        try:
            if _may_go(store, keys):
                _log.info("the train stage has handed over")
                return
            _give_way(store, keys, started, give_way_s)
        except StorageError as error:
            if time.monotonic() - last_answer > PATIENCE_S:
                raise
            _log.warning("waiting for the store: %s", error)
        else:
            last_answer = time.monotonic()
            if last_answer - said_at > _SAY_EVERY_S:
                said_at = last_answer
                _log.info("waiting for the train stage: %s/%s", store.url, keys.adapter)
        stop.wait(pause_s)


def _may_go(store: Store, keys: RunLayout) -> bool:
    """Whether the handoff is there, or all that was to be made of it. Raises ConfigError."""
    if store.stat(keys.success) is not None:
        return True
    refuse_ended(store, keys)
    return is_handed_over(store, keys)


def _give_way(store: Store, keys: RunLayout, started: datetime, give_way_s: float) -> None:
    """Raise StoppedError once neither this pod is new nor the train stage shows any life."""
    try:
        beat = Status.model_validate_json(store.read(keys.status)).heartbeat
    except (NotFoundError, ValidationError):
        beat = started
    silent_s = (now() - max(beat, started)).total_seconds()
    if silent_s > give_way_s:
        raise StoppedError(
            f"the train stage showed no life for {silent_s:.0f} s; this pod gives its place up",
            where=f"{store.url}/{keys.root}",
            hint="The Job makes another one, which waits on.",
        )


def _pauses_s() -> Iterator[float]:
    pause_s = FIRST_PAUSE_S
    while True:
        yield pause_s
        pause_s = min(pause_s * 1.5, LONGEST_PAUSE_S)
