"""The namespace is there, and its Pod Security level lets the run's pods in."""

from __future__ import annotations

from ftctl.cluster.failures import ForbiddenError
from ftctl.cluster.kinds import NAMESPACE
from ftctl.doctor.finding import Context, Finding, fail, ok, warn

CHECK = "namespace"
# https://kubernetes.io/docs/concepts/security/pod-security-admission/
_LEVEL = "pod-security.kubernetes.io/enforce"


def check(ctx: Context) -> list[Finding]:
    """Its state and its level. Raises MissingError where there is no such namespace."""
    try:
        found = ctx.cluster.get(NAMESPACE, ctx.namespace)
    except ForbiddenError as error:
        return [warn(CHECK, f"{ctx.namespace} may not be looked at: {error.what}", error.hint)]
    if found["status"].get("phase") == "Terminating":
        return [
            fail(
                CHECK,
                f"{ctx.namespace} is being deleted",
                "Wait and create it again, or use another: cluster.namespace=...",
            )
        ]
    level = (found["metadata"].get("labels") or {}).get(_LEVEL, "privileged")
    if ctx.config.cluster.cache.kind == "hostPath" and level != "privileged":
        return [
            fail(
                CHECK,
                f"{ctx.namespace} enforces Pod Security {level}, which forbids a hostPath cache",
                "Use a claim: cluster.cache.kind=pvc cluster.cache.name=CLAIM, or none.",
            )
        ]
    if level == "restricted":
        return [ok(CHECK, f"{ctx.namespace} enforces Pod Security restricted, which pods meet")]
    return [ok(CHECK, f"{ctx.namespace} enforces Pod Security {level}; pods meet restricted")]
