"""This user may do what submit, status, logs and cancel do."""

from __future__ import annotations

from dataclasses import dataclass

from ftctl.cluster.engine import may
from ftctl.cluster.kinds import (
    CONFIG_MAP,
    EVENT,
    JOB,
    JOB_SET,
    NETWORK_POLICY,
    POD,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    Kind,
)
from ftctl.doctor.finding import Context, Finding, Status, fail, ok, warn
from ftctl.storage.parallel import each

CHECK = "permissions"
# What is brought up to date in place; the rest is immutable, or named by its content.
_PATCHED = (NETWORK_POLICY, SERVICE, SERVICE_ACCOUNT)


@dataclass(frozen=True)
class _Right:
    """A verb on a resource; `lack` is how bad it is not to have it."""

    verb: str
    kind: Kind
    lack: Status = "fail"
    part: str = ""

    @property
    def text(self) -> str:
        part = f"/{self.part}" if self.part else ""
        return f"{self.verb} {self.kind.plural}{part}"


def check(ctx: Context) -> list[Finding]:
    """Ask for each right, in parallel; the missing ones are named together."""
    rights = _rights(ctx)
    allowed = each(lambda right: _is_allowed(ctx, right), rights)
    found = []
    for status, say in (("fail", fail), ("warn", warn)):
        lacking = [
            right
            for right, may in zip(rights, allowed, strict=True)
            if not may and right.lack == status
        ]
        if lacking:
            found.append(
                say(
                    CHECK,
                    f"this user may not {', '.join(right.text for right in lacking)} "
                    f"in {ctx.namespace}",
                    f"Ask for a role that allows: {_rules(lacking)}.",
                )
            )
    return found or [ok(CHECK, f"this user may do all that a run needs in {ctx.namespace}")]


def _rights(ctx: Context) -> list[_Right]:
    """What submit creates and reads back; then what other commands do besides."""
    cluster = ctx.config.cluster
    created = [CONFIG_MAP, NETWORK_POLICY, JOB]
    if cluster.service_account is None:
        created.append(SERVICE_ACCOUNT)
    if cluster.nodes > 1:
        created.append(SERVICE)
    if cluster.engine == "jobset":
        created.append(JOB_SET)
    rights = [
        _Right(verb, kind) for kind in created for verb in ("create", "get", "list", "delete")
    ]
    rights += [_Right("patch", kind) for kind in created if kind in _PATCHED]
    rights += [_Right("list", POD), _Right("list", EVENT, "warn")]
    rights += [_Right("get", POD, "warn", part="log"), _Right("create", POD, "warn")]
    rights += [_Right("get", SECRET, "warn"), _Right("create", SECRET, "warn")]
    return rights


def _is_allowed(ctx: Context, right: _Right) -> bool:
    return may(ctx.cluster, right.verb, right.kind, ctx.namespace, right.part)


def _rules(lacking: list[_Right]) -> str:
    """As `jobs.batch: create, delete; pods/log: get`."""
    by_resource: dict[str, list[str]] = {}
    for right in lacking:
        resource = right.kind.resource + (f"/{right.part}" if right.part else "")
        by_resource.setdefault(resource, []).append(right.verb)
    return "; ".join(f"{resource}: {', '.join(verbs)}" for resource, verbs in by_resource.items())
