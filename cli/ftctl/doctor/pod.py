"""A short pod in the cluster: its images can be pulled, and the store works from inside."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from ftctl.cluster.apply import apply, preflight
from ftctl.cluster.delete import delete_run
from ftctl.cluster.failures import ForbiddenError, UnreachableError
from ftctl.cluster.kinds import POD, Object, kind_of
from ftctl.cluster.observe import events_about
from ftctl.cluster.observed import Observed, containers
from ftctl.cluster.pending import pending_reason
from ftctl.cluster.workloads import WORKLOADS
from ftctl.contract.clusterview import Reason
from ftctl.doctor.finding import Context, Finding, fail, ok, warn
from ftctl.doctor.trial import trial_objects, trial_run
from ftctl.errors import ClusterError, ConfigError, StorageError

IMAGES, STORE = "images", "storage in the cluster"
_POLL_S = 1.0
# A pull that failed once may work the second time; what is certain is said at once.
_CERTAIN = ("NoImage", "ImagePrivate", "InvalidImageName", "ErrImageNeverPull", "NoSecret")
# Exit codes of what the probe says itself.
_OURS = (ConfigError.exit_code, StorageError.exit_code)


def check(ctx: Context) -> list[Finding]:
    """Create the pod and what it needs, look how it ends, and remove it all again."""
    run = trial_run(ctx.config)
    objects, pod = trial_objects(run, Path.cwd())
    try:
        notes = [warn(STORE, note) for note in preflight(ctx.cluster, objects)]
        apply(ctx.cluster, [item for item in objects if kind_of(item) not in WORKLOADS])
        ctx.cluster.create(pod)
        return [*notes, *_judged(*_ended(ctx, pod))]
    except ForbiddenError as error:
        return [warn(STORE, f"no pod could be tried: {error.what}", error.hint)]
    except UnreachableError:
        raise
    except ClusterError as error:
        return [fail(STORE, f"the cluster would not take a run: {error.what}", error.hint)]
    finally:
        _remove(ctx, run.run_id)


def _remove(ctx: Context, run_id: str) -> None:
    """Take out what was made; what may not be made may not be looked at either."""
    with suppress(ForbiddenError):
        ctx.cluster.delete(POD, run_id, ctx.namespace, grace_s=0)
        delete_run(ctx.cluster, ctx.namespace, run_id)


def _ended(ctx: Context, pod: Object) -> tuple[Object, Reason | None]:
    """The pod when it has ended, or what keeps it from starting."""
    deadline = time.monotonic() + ctx.timeout_s
    while True:
        found = ctx.cluster.get(POD, pod["metadata"]["name"], ctx.namespace)
        if all("terminated" in one.get("state", {}) for one in containers(found) or [{}]):
            return found, None
        reason = pending_reason(
            found, Observed(pods=[found], events=events_about(ctx.cluster, found))
        )
        late = time.monotonic() > deadline
        if reason is not None and (late or reason.code in _CERTAIN):
            return found, reason
        if late:
            what = f"the pod did not end within {ctx.timeout_s:.0f} s"
            hint = "Its images may be large: try again, or allow more with --timeout."
            return found, Reason(code="Timeout", what=what, hint=hint)
        time.sleep(_POLL_S)


def _judged(pod: Object, reason: Reason | None) -> list[Finding]:
    if reason is not None:
        check = IMAGES if "Image" in reason.code else STORE
        return [fail(check, reason.what, reason.hint)]
    ends = {one["name"]: one["state"]["terminated"] for one in containers(pod)}
    images = [one["image"] for one in pod["spec"]["containers"]]
    return [_images(images, ends["train"]), _store(ends["convert"])]


def _images(images: list[str], train: Object) -> Finding:
    if train["exitCode"]:
        return fail(
            IMAGES,
            f"{images[1]} does not run Python: {train.get('message') or train.get('reason')}",
            "Set cluster.image_train to an image that `make images` built.",
        )
    return ok(IMAGES, f"{' and '.join(dict.fromkeys(images))} can be pulled and started")


def _store(convert: Object) -> Finding:
    if not convert["exitCode"]:
        return ok(STORE, "pods can write and read the store")
    said = str(convert.get("message") or convert.get("reason") or "no message").strip()
    if convert["exitCode"] not in _OURS:
        return fail(STORE, f"a pod could not try the store: {said.splitlines()[-1]}")
    what, _, hint = said.partition("\n")
    return fail(STORE, f"from a pod: {what}", hint or None)
