"""Why a pod that is there does not run, or why a Job has no pod, in words and with the fix."""

from __future__ import annotations

import re

from ftctl.cluster.kinds import Object
from ftctl.cluster.observed import Observed, containers, labels, unmet
from ftctl.cluster.refusals import refusal
from ftctl.contract.clusterview import Reason
from ftctl.contract.labels import STAGE

_PULL = ("ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "ImageInspectError")
_NO_SECRET = re.compile(r'secret "(?P<name>[^"]+)" not found')
_NO_SECRET_KEY = re.compile(r"couldn't find key (?P<key>\S+) in Secret (?P<name>\S+)")
_NO_CLAIM = re.compile(r'persistentvolumeclaim "(?P<name>[^"]+)" not found')
_TAINT = re.compile(r"untolerated taint\(?s?\)? ?(?P<taint>\{[^}]*\})?")
_LACKING = re.compile(r"Insufficient ([\w./-]*\w)")
# The sentence on preemption repeats the first and helps nobody.
_PREEMPTION = re.compile(r"\.? (no new claims to deallocate, )?preemption: .*", re.DOTALL)
_NOT_THERE = re.compile(r"not found|manifest unknown|does not exist|unknown manifest", re.I)
_NOT_ALLOWED = re.compile(r"unauthorized|authorization failed|denied|no basic auth|forbidden", re.I)


def pending_reason(pod: Object, observed: Observed) -> Reason | None:
    """Why a pod is pending, or None while it simply starts."""
    unscheduled = unmet(pod, "PodScheduled")
    if unscheduled:
        return _unscheduled(pod, str(unscheduled.get("message") or ""))
    for one in containers(pod):
        waiting = one.get("state", {}).get("waiting")
        if waiting:
            found = _waiting(one, waiting, pod)
            if found:
                return found
    mounts = observed.events_of(pod, "FailedMount") or observed.events_of(pod, "FailedAttachVolume")
    if mounts:
        return _unmounted(str(mounts[0]["message"]))
    sandbox = observed.events_of(pod, "FailedCreatePodSandBox")
    return _no_sandbox(pod, str(sandbox[0]["message"])) if sandbox else None


def creation_reason(job: Object, observed: Observed) -> Reason | None:
    """Why the Job controller could not create a pod, or None."""
    failed = observed.events_of(job, "FailedCreate")
    if not failed:
        return None
    message = str(failed[0].get("message") or "")
    return refusal(message) or Reason(code="FailedCreate", what=f"no pod could be made: {message}")


def _unscheduled(pod: Object, message: str) -> Reason:
    if message.startswith("0/0") or not message:
        return Reason(code="Unschedulable", what="the cluster has no node that takes pods yet")
    claim = _NO_CLAIM.search(message)
    if claim:
        return Reason(
            code="NoClaim",
            what=f"there is no volume claim {claim['name']}",
            hint="Create it, or set cluster.cache.kind=none.",
        )
    counts = _PREEMPTION.sub("", message).rstrip(". ")
    lacking = _LACKING.findall(message)
    stage = labels(pod).get(STAGE, "train")
    hints = [_lacking_hint(name, stage) for name in lacking]
    if "node affinity/selector" in message:
        hints.append(
            f"No node has the labels of cluster.node_selector "
            f"({_asked_labels(pod)}): `kubectl get nodes --show-labels`."
        )
    if _TAINT.search(message):
        hints.append("Accept the taint in cluster.tolerations, or have it removed.")
    asked = "; asked for " + _requests(pod, lacking) if lacking else ""
    return Reason(
        code="Unschedulable",
        what=f"no node can take the pod: {counts}{asked}",
        hint=" ".join(dict.fromkeys(hints)) or "`kubectl describe pod` shows each node's reason.",
    )


def _lacking_hint(resource: str, stage: str) -> str:
    if "/" in resource:
        return (
            f"No node has that many {resource} free: wait for one, lower cluster.gpus, add a GPU "
            "node (with the vendor's device plugin), or train a small model with cluster=cpu."
        )
    key = f"cluster.resources.{stage}.{resource.replace('-', '_')}"
    return f"Lower {key}, or add a larger node."


def _requests(pod: Object, resources: list[str]) -> str:
    """What the largest container asks for, of the resources that are lacking."""
    asked = []
    for resource in dict.fromkeys(resources):
        for one in pod["spec"]["containers"]:
            value = one.get("resources", {}).get("requests", {}).get(resource)
            if value is not None:
                asked.append(f"{resource} {value}")
    return ", ".join(asked)


def _asked_labels(pod: Object) -> str:
    wanted = pod["spec"].get("nodeSelector") or {}
    return ", ".join(f"{key}={value}" for key, value in wanted.items()) or "node affinity"


def _waiting(container: Object, waiting: Object, pod: Object) -> Reason | None:
    reason, message = waiting.get("reason", ""), str(waiting.get("message") or "").strip()
    if reason in _PULL:
        return _unpulled(container["image"], message, pod)
    if reason in ("InvalidImageName", "ErrImageNeverPull"):
        return Reason(
            code=reason,
            what=f"the image {container['image']!r} cannot be used: {message}",
            hint="Correct cluster.image_train or cluster.image_convert.",
        )
    if reason == "CreateContainerConfigError":
        return _unconfigured(message, pod["metadata"]["namespace"])
    if reason in ("CreateContainerError", "RunContainerError", "CrashLoopBackOff"):
        return Reason(code=reason, what=f"the container cannot start: {message}")
    return None


def _unpulled(image: str, message: str, pod: Object) -> Reason:
    """`no basic auth credentials` may mean private or missing: registries do not tell."""
    cause = message.rpartition("failed to resolve reference ")[2] or message
    secrets = [one["name"] for one in pod["spec"].get("imagePullSecrets") or ()]
    if _NOT_ALLOWED.search(message):
        given = f"with {', '.join(secrets)}" if secrets else "and no pull secret is given"
        return Reason(
            code="ImagePrivate",
            what=f"the registry does not give out the image {image}: it is private, or there is "
            f"none; {given}",
            hint="Create a Secret of type docker-registry and name it in "
            "cluster.image_pull_secrets, or correct cluster.image_train / image_convert.",
        )
    if _NOT_THERE.search(message):
        return Reason(
            code="NoImage",
            what=f"there is no image {image}",
            hint="Build and push it (`make images`), or set cluster.image_train and "
            "cluster.image_convert to images that are there.",
        )
    return Reason(
        code="ImagePull",
        what=f"the image {image} cannot be pulled: {cause}",
        hint="Check that the nodes reach the registry, and cluster.image_train / image_convert. "
        "It is tried again.",
    )


def _unconfigured(message: str, namespace: str) -> Reason:
    secret, key = _NO_SECRET.search(message), _NO_SECRET_KEY.search(message)
    if secret:
        return Reason(
            code="NoSecret",
            what=f"there is no Secret {secret['name']} in the namespace {namespace}",
            hint="`ftctl secrets set` makes it from your environment; the pod then starts by "
            "itself.",
        )
    if key:
        return Reason(
            code="NoSecretKey",
            what=f"the Secret {key['name']} has no key {key['key']}",
            hint="`ftctl secrets set` writes it from your environment; the pod then starts by "
            "itself.",
        )
    return Reason(code="CreateContainerConfigError", what=f"the container lacks: {message}")


def _unmounted(message: str) -> Reason:
    what = message.partition(" : ")[2] or message
    return Reason(
        code="FailedMount",
        what=f"a volume cannot be mounted: {what.strip()}",
        hint="`ftctl resume` creates again what belongs to the run.",
    )


def _no_sandbox(pod: Object, message: str) -> Reason:
    """The container runtime or the network of a node fails: nothing of the run's."""
    return Reason(
        code="FailedCreatePodSandBox",
        what=f"the node {pod['spec'].get('nodeName')} cannot start pods: "
        f"{message.removeprefix('Failed to create pod sandbox: ')}",
        hint="Have the node repaired, or keep off it with cluster.node_selector. "
        "It is tried again.",
    )
