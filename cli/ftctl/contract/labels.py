"""Labels and annotations of everything a run has in a cluster; selectors are made of these."""

from __future__ import annotations

# https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/
NAME = "app.kubernetes.io/name"
MANAGED_BY = "app.kubernetes.io/managed-by"
INSTANCE = "app.kubernetes.io/instance"  # the run id
COMPONENT = "app.kubernetes.io/component"  # the stage; absent where an object serves both
VERSION = "app.kubernetes.io/version"  # of ftctl; absent on pods: an upgrade renames no Job
RUN = "ftctl.dev/run"
STAGE = "ftctl.dev/stage"
SWEEP = "ftctl.dev/sweep"  # of a sweep's launcher
# Annotation: the whole hash of which the run id has 12 digits.
CONTENT_HASH = "ftctl.dev/content-hash"

# https://kueue.sigs.k8s.io/docs/tasks/run/jobs/
KUEUE_QUEUE = "kueue.x-k8s.io/queue-name"

PROGRAM = "ftctl"


def run_labels(run_id: str, stage: str | None = None) -> dict[str, str]:
    """What an object of a run and its pods carry; `stage` where it belongs to one."""
    labels = {NAME: PROGRAM, MANAGED_BY: PROGRAM, INSTANCE: run_id, RUN: run_id}
    return labels if stage is None else {**labels, COMPONENT: stage, STAGE: stage}


def launcher_labels(sweep_id: str) -> dict[str, str]:
    """What the launcher of a sweep carries, and its pods; it belongs to no run."""
    return {
        NAME: PROGRAM,
        MANAGED_BY: PROGRAM,
        INSTANCE: sweep_id,
        COMPONENT: "launcher",
        SWEEP: sweep_id,
    }


def launcher_selector(sweep_id: str) -> str:
    """A label selector for what `launcher_labels` marks."""
    return f"{SWEEP}={sweep_id}"


def run_selector(run_id: str, stage: str | None = None) -> str:
    """A label selector, as the API takes it, for what `run_labels` marks."""
    return f"{RUN}={run_id}" + (f",{STAGE}={stage}" if stage else "")


def all_selector() -> str:
    """A label selector for the objects of all runs."""
    return f"{MANAGED_BY}={PROGRAM},{RUN}"
