"""The head of every object."""

from __future__ import annotations

from typing import Any

from ftctl import __version__
from ftctl.contract import labels
from ftctl.contract.runfile import RunFile

Manifest = dict[str, Any]


def metadata(
    run: RunFile, name: str, *, stage: str | None = None, queue: str | None = None
) -> Manifest:
    """
    Name, namespace, labels and annotations of an object of a run.

    Args:
        stage: where the object belongs to one.
        queue: Kueue local queue, for workloads.
    """
    marks = {**labels.run_labels(run.run_id, stage), labels.VERSION: __version__}
    if queue:
        marks[labels.KUEUE_QUEUE] = queue
    return {
        "name": name,
        "namespace": run.config.cluster.namespace,
        "labels": marks,
        "annotations": {labels.CONTENT_HASH: run.content_hash},
    }
