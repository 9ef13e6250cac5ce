"""All checks, in the order in which one depends on another."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ftctl.doctor import (
    connection,
    gpus,
    model,
    namespace,
    permissions,
    pod,
    queue,
    secrets,
    store,
)
from ftctl.doctor.finding import Context, Finding, fail, warn
from ftctl.errors import FtctlError

Check = Callable[[Context], list[Finding]]

_HERE: tuple[tuple[str, Check], ...] = ((store.CHECK, store.check), (model.CHECK, model.check))
_CLUSTER: tuple[tuple[str, Check], ...] = (
    (namespace.CHECK, namespace.check),
    (permissions.CHECK, permissions.check),
    (gpus.CHECK, gpus.check),
    (queue.CHECK, queue.check),
    (secrets.CHECK, secrets.check),
)


def findings(ctx: Context, *, with_pod: bool = True) -> Iterator[Finding]:
    """
    Yield what every check finds, as it is found.

    A check that itself fails becomes a finding; without a cluster only what is here is checked,
    and no pod is tried where the namespace, or what a pod refers to, is not there.
    """
    reached = list(_said(connection.CHECK, connection.check, ctx))
    yield from reached
    broken = any(finding.status == "fail" for finding in reached)
    for name, check in () if broken else _CLUSTER:
        found = list(_said(name, check, ctx))
        yield from found
        needed = (namespace.CHECK, secrets.CHECK, permissions.CHECK)
        broken |= name in needed and any(finding.status == "fail" for finding in found)
    local = [finding for name, check in _HERE for finding in _said(name, check, ctx)]
    yield from local
    if not with_pod:
        return
    no_store = any(item.check == store.CHECK and item.status == "fail" for item in local)
    if broken or no_store:
        yield warn(pod.STORE, "no pod was tried, as what it needs is not there")
    else:
        yield from _said(pod.STORE, pod.check, ctx)


def _said(name: str, check: Check, ctx: Context) -> list[Finding]:
    try:
        return check(ctx)
    except FtctlError as error:
        return [fail(name, error.what, error.hint)]
