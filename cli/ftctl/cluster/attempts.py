"""Why an attempt ended: a pod's end, its exit code and the last lines of its log, in words."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from ftctl.cluster.kinds import Object
from ftctl.cluster.observed import Observed, condition, containers, labels
from ftctl.contract import exits
from ftctl.contract.clusterview import Reason
from ftctl.contract.labels import STAGE
from ftctl.contract.status import LogLine

_OUT_OF_MEMORY = 137
# https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions
_DISRUPTIONS = {
    "PreemptionByScheduler": ("Preempted", "a pod of higher priority took its place"),
    "DeletionByTaintManager": ("Evicted", "its node got a taint that it does not accept"),
    "EvictionByEvictionAPI": ("Evicted", "its node is being drained"),
    "DeletionByPodGC": ("NodeLost", "its node is gone"),
    "TerminationByKubelet": ("Evicted", "its node shut down or ran short"),
}
_GOES_ON = "Another pod goes on from the last checkpoint."
_OUTPUT_LINES = 3


def attempt_reason(pod: Object, observed: Observed) -> Reason:
    """Why a pod that failed did so."""
    ended = failed_container(pod)
    if ended and ended["state"]["terminated"].get("reason") == "OOMKilled":
        return _out_of_memory(pod, ended, observed)
    if pod["status"].get("reason") == "Evicted":
        what = str(pod["status"].get("message") or "").strip().rstrip(".")
        return Reason(code="Evicted", what=f"the pod was evicted: {what}", hint=_evicted(what, pod))
    disrupted = condition(pod, "DisruptionTarget")
    if disrupted:
        code, what = _DISRUPTIONS.get(
            disrupted.get("reason", ""), ("Disrupted", str(disrupted.get("message")))
        )
        return Reason(code=code, what=f"the pod was stopped: {what}", hint=_GOES_ON)
    if ended is None:
        what = pod["status"].get("message") or pod["status"].get("reason") or "no container ended"
        return Reason(code="PodFailed", what=f"the pod failed: {what}")
    return _exit_reason(ended, observed.logs.get(pod["metadata"]["name"], ()))


def exit_code(pod: Object) -> int | None:
    """The exit code that decided about the pod."""
    ended = failed_container(pod)
    return int(ended["state"]["terminated"]["exitCode"]) if ended else None


def failed_container(pod: Object) -> Object | None:
    """The status of the first container that ended with another code than 0."""
    for one in containers(pod):
        if one.get("state", {}).get("terminated", {}).get("exitCode"):
            return one
    return None


def memory_limit(pod: Object, container: str) -> str | None:
    """What a container may use at most, as a Kubernetes quantity."""
    spec = pod["spec"]
    for one in [*(spec.get("initContainers") or ()), *spec["containers"]]:
        if one["name"] == container:
            limit = one.get("resources", {}).get("limits", {}).get("memory")
            return None if limit is None else str(limit)
    return None


def last_error(lines: Sequence[str]) -> str | None:
    """The message of the last error in a log, or the last lines of what is no log of ours."""
    plain = []
    for text in reversed(lines):
        try:
            line = LogLine.model_validate_json(text)
        except ValidationError:
            if text.strip():
                plain.append(text.strip())
            continue
        if line.level in ("error", "critical"):
            return line.message
    return "\n".join(reversed(plain[:_OUTPUT_LINES])) or None


def _out_of_memory(pod: Object, ended: Object, observed: Observed) -> Reason:
    stage = labels(pod).get(STAGE, "train")
    limit = memory_limit(pod, ended["name"])
    needs = observed.needs.get(stage)
    return Reason(
        code="OOMKilled",
        what=f"out of memory: it needed more than its limit of {limit}"
        + (f"; the estimate is {needs}" if needs else ""),
        hint=f"Give it more: cluster.resources.{stage}.memory=... with `ftctl submit` or "
        "`ftctl resume`. The run goes on from its last checkpoint.",
    )


def _evicted(what: str, pod: Object) -> str:
    if "ephemeral" in what:
        stage = labels(pod).get(STAGE, "train")
        return f"Raise cluster.resources.{stage}.ephemeral_storage; the run goes on where it was."
    return _GOES_ON


def _exit_reason(ended: Object, lines: Sequence[str]) -> Reason:
    state = ended["state"]["terminated"]
    code = int(state["exitCode"])
    if state.get("reason") in ("StartError", "ContainerCannotRun"):
        return Reason(
            code="StartError",
            what=f"the container could not start: {_runtime_words(state.get('message', ''))}",
            hint="Check that the image is one of ftctl's (`make images`), for this architecture.",
        )
    meaning = exits.MEANING.get(code)
    if code == _OUT_OF_MEMORY:
        meaning = "killed"
    # The status repeats the last lines of the log, for when the log is gone.
    said = last_error(lines or str(state.get("message") or "").splitlines()) or ""
    what, _, hint = said.partition("\n") if meaning and code not in (1, 137) else (said, "", "")
    head = f"exit code {code}" + (f" ({meaning})" if meaning else "")
    return Reason(
        code=f"Exit{code}", what=f"{head}: {what}" if what else head, hint=hint.strip() or None
    )


def _runtime_words(message: str) -> str:
    """The end of what the container runtime says; before it each layer repeats that it failed."""
    return message.rpartition("runc create failed: ")[2].removesuffix(": unknown").strip()
