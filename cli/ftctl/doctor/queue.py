"""The engine, the queue and the priority class that the profile names are there."""

from __future__ import annotations

from ftctl.cluster.engine import serves
from ftctl.cluster.failures import ForbiddenError
from ftctl.cluster.kinds import CLAIM, JOB_SET, LOCAL_QUEUE, PRIORITY_CLASS, SERVICE_ACCOUNT, Kind
from ftctl.doctor.finding import Context, Finding, fail, ok, warn

CHECK = "queue"


def check(ctx: Context) -> list[Finding]:
    """All that a profile refers to by name; a profile that names nothing needs nothing."""
    cluster = ctx.config.cluster
    found = [_engine(ctx)]
    claim = cluster.cache.name if cluster.cache.kind == "pvc" else None
    named: list[tuple[str, Kind, str | None, str | None]] = [
        ("cluster.queue", LOCAL_QUEUE, cluster.queue, ctx.namespace),
        ("cluster.priority", PRIORITY_CLASS, cluster.priority, None),
        ("cluster.service_account", SERVICE_ACCOUNT, cluster.service_account, ctx.namespace),
        ("cluster.cache.name", CLAIM, claim, ctx.namespace),
    ]
    for setting, kind, name, namespace in named:
        if name:
            found.append(_named(ctx, setting, kind, name, namespace))
    return found


def _engine(ctx: Context) -> Finding:
    engine = ctx.config.cluster.engine
    if serves(ctx.cluster, JOB_SET):
        return ok(CHECK, f"JobSet is installed; engine={engine}")
    if engine == "jobset":
        return fail(
            CHECK,
            "JobSet is not installed, and the profile sets engine=jobset",
            "Install it, or set cluster.engine=job.",
        )
    return ok(CHECK, f"JobSet is not installed: runs are two Jobs (engine={engine})")


def _named(ctx: Context, setting: str, kind: Kind, name: str, namespace: str | None) -> Finding:
    if kind is LOCAL_QUEUE and not serves(ctx.cluster, kind):
        return fail(
            CHECK,
            f"Kueue is not installed, and {setting} is {name}",
            "Install it, or set cluster.queue=null.",
        )
    try:
        there = ctx.cluster.find(kind, name, namespace)
    except ForbiddenError as error:
        return warn(CHECK, f"{kind.name} {name} may not be looked at: {error.what}", error.hint)
    if there is None:
        return fail(
            CHECK,
            f"there is no {kind.name} {name}" + (f" in {namespace}" if namespace else ""),
            f"Create it, or correct {setting}; `kubectl get {kind.plural}` lists them.",
        )
    return ok(CHECK, f"{kind.name} {name} is there")
