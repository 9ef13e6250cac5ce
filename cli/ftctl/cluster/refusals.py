"""What it means when the API refuses an object. The texts are those of its admission plugins."""

from __future__ import annotations

import re

from ftctl.contract.clusterview import Reason
from ftctl.contract.quantity import api_quantity

# https://github.com/kubernetes/kubernetes: plugin/pkg/admission/resourcequota/controller.go
_QUOTA = re.compile(
    r"exceeded quota: (?P<name>[\w.-]+), requested: (?P<requested>.+?), "
    r"used: (?P<used>.+?), limited: (?P<limited>.+?)(?:$|[;\n])"
)
_QUOTA_UNSET = re.compile(r"failed quota: (?P<name>[\w.-]+): must specify (?P<what>.+?)(?:$|;)")
# staging/src/k8s.io/pod-security-admission/admission/admission.go
_POD_SECURITY = re.compile(r'violates PodSecurity "(?P<level>[^"]+)": (?P<why>.+)')
# staging/src/k8s.io/apiserver/pkg/endpoints/handlers/responsewriters/errors.go
_RBAC = re.compile(
    r'User "(?P<user>[^"]+)" cannot (?P<verb>\w+) resource "(?P<resource>[^"]+)"'
    r'(?: in API group "(?P<group>[^"]*)")?'
    r'(?: in the namespace "(?P<namespace>[^"]+)"| at the cluster scope)?'
)
_NO_ACCOUNT = re.compile(r"error looking up service account (?P<name>\S+?): ")
_NO_PRIORITY = re.compile(r"no PriorityClass with name (?P<name>\S+) was found")
# plugin/pkg/admission/limitranger/admission.go
_LIMIT_RANGE = re.compile(r"(?P<why>(?:maximum|minimum) \S+ usage per \w+ is [^\[\]]+)")
_TERMINATING = re.compile(r"because it is being terminated")
_WEBHOOK = re.compile(r'admission webhook "(?P<name>[^"]+)" denied the request:? ?(?P<why>.*)')


def quota_never_fits(message: str) -> bool:
    """Whether a refusal by quota asks for more than the quota is, used or not."""
    found = _QUOTA.search(message)
    if not found:
        return False
    limited = _quantities(found["limited"])
    return any(
        api_quantity(value) > api_quantity(limited[key])
        for key, value in _quantities(found["requested"]).items()
        if key in limited
    )


def refusal(message: str) -> Reason | None:
    """Explain the text of a refusal, or return None: then it is none of the known ones."""
    for pattern, explain in _EXPLAINED:
        found = pattern.search(message)
        if found:
            return explain(found)
    return None


def _quantities(text: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in text.split(","))
    return {name.strip(): value for name, equals, value in pairs if equals}


def _quota(found: re.Match[str]) -> Reason:
    lower = "ower cluster.resources or cluster.gpus, or have the ResourceQuota raised."
    return Reason(
        code="QuotaExceeded",
        what=f"the quota {found['name']} does not allow it: requested {found['requested']}, "
        f"used {found['used']}, limited to {found['limited']}",
        hint=f"L{lower}"
        if quota_never_fits(found[0])
        else f"It starts by itself when enough of others has ended; or l{lower}",
    )


def _quota_unset(found: re.Match[str]) -> Reason:
    return Reason(
        code="QuotaUnset",
        what=f"the quota {found['name']} wants values that are not set: {found['what']}",
        hint="Set them in cluster.resources, or have a LimitRange give defaults.",
    )


def _pod_security(found: re.Match[str]) -> Reason:
    return Reason(
        code="PodSecurity",
        what=f"the namespace enforces Pod Security {found['level']}: {found['why']}",
        hint="Take out of the profile what it forbids (a hostPath cache, for example), "
        "or use another namespace: cluster.namespace=...",
    )


def _rbac(found: re.Match[str]) -> Reason:
    group = f".{found['group']}" if found["group"] else ""
    place = f"in the namespace {found['namespace']}" if found["namespace"] else "in the cluster"
    return Reason(
        code="Forbidden",
        what=f"no permission: {found['user']} may not {found['verb']} "
        f"{found['resource']}{group} {place}",
        hint=f"Ask for a role that allows `{found['verb']}` on `{found['resource']}{group}`, "
        "or use another cluster.namespace or cluster.context.",
    )


def _no_account(found: re.Match[str]) -> Reason:
    return Reason(
        code="NoServiceAccount",
        what=f"there is no service account {found['name'].rstrip(':')}",
        hint="Create it, or leave cluster.service_account at null: then the run makes its own.",
    )


def _no_priority(found: re.Match[str]) -> Reason:
    return Reason(
        code="NoPriorityClass",
        what=f"there is no priority class {found['name']}",
        hint="`kubectl get priorityclasses` lists them; set cluster.priority to one, or to null.",
    )


def _limit_range(found: re.Match[str]) -> Reason:
    return Reason(
        code="LimitRange",
        what=f"a LimitRange of the namespace refuses it: {found['why'].strip().rstrip(',')}",
        hint="Change cluster.resources, or have the LimitRange changed.",
    )


def _terminating(found: re.Match[str]) -> Reason:
    return Reason(
        code="NamespaceTerminating",
        what="the namespace is being deleted",
        hint="Wait until it is gone and create it again, or use another: cluster.namespace=...",
    )


def _webhook(found: re.Match[str]) -> Reason:
    return Reason(
        code="Denied",
        what=f"the admission webhook {found['name']} denied it: {found['why'].strip() or '-'}",
        hint="Ask whoever runs the cluster what its policy wants.",
    )


_EXPLAINED = (
    (_QUOTA, _quota),
    (_QUOTA_UNSET, _quota_unset),
    (_POD_SECURITY, _pod_security),
    (_NO_ACCOUNT, _no_account),
    (_NO_PRIORITY, _no_priority),
    (_LIMIT_RANGE, _limit_range),
    (_WEBHOOK, _webhook),
    (_TERMINATING, _terminating),
    (_RBAC, _rbac),
)
