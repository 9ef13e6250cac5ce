"""
What commands print with --json, a model each. The reference in docs/ is made from them.

A command makes its answer with the model and prints that, so that no other text can come out.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from ftctl.commands.answer import Answer
from ftctl.commands.sweep_answers import SweepAnswer, SweepPlanAnswer
from ftctl.contract.clusterview import ClusterView
from ftctl.contract.lineage import DatasetRecord
from ftctl.contract.spec import Config
from ftctl.contract.status import Event, IndexRecord, LogLine, State, Status
from ftctl.data.dataset import FileSummary
from ftctl.data.stats import DatasetStats
from ftctl.doctor.finding import Finding
from ftctl.estimate.facts import Estimate
from ftctl.manifests.difference import Difference
from ftctl.report.table import OutcomeRow
from ftctl.runs.leftovers import Kind

Value = bool | int | float | str | None


class RunAnswer(Answer):
    """A published run."""

    run_id: str
    state: State
    outcome: list[OutcomeRow] = Field(description="before, after, each type, then the baselines")
    gguf: list[str] = Field(description="where the GGUF files are")
    report: str = Field(description="where the HTML report is")
    peak_rss_bytes: int | None = Field(
        description="memory of the stages at most, in bytes; null where none ran here"
    )


class PlanAnswer(Answer):
    """
    What is created, or with --dry-run would be.

    Text that holds several facts is for people; what is not known is left out.
    """

    run_id: str
    place: str = Field(description="cluster and namespace")
    cluster: str = Field(description="the same, with the server")
    model: str = Field(description="base model and the beginning of its revision")
    data: str = Field(description="rows by split")
    train: str = Field(description="resources and image of the train stage")
    convert: str = Field(description="the same of the convert stage")
    GPU: str | None = Field(None, description="estimated memory of one GPU, where one is used")
    CPU: str | None = Field(None, description="estimated memory of training, where no GPU is used")
    steps: str | None = Field(None, description="optimizer steps and tokens")
    time: str | None = Field(None, description="of training")
    price: str | None = Field(None, description="of training, by cluster.price_per_hour")
    disk: str | None = Field(None, description="by stage")
    results: str = Field(description="where the run is in the store")
    objects: list[str] = Field(description="kind and name of each Kubernetes object")
    notes: list[str] = Field(description="what is worth knowing, a sentence each")
    estimate: Estimate | None = Field(None, description="absent from `resume`")
    state: Literal["planned", "submitted", "resumed"]


class RunningAnswer(Answer):
    """A run that goes on in its cluster already."""

    run_id: str
    place: str = Field(description="cluster and namespace")
    state: Literal["running"]


class CancelAnswer(Answer):
    """A run that was stopped, or was published already."""

    run_id: str
    state: Literal["cancelled", "succeeded"]
    deleted: list[str] = Field(description="names of the Jobs that were deleted")


class _Seen(BaseModel):
    heartbeat_age_s: float | None = Field(description="seconds since the last heartbeat")
    abandoned: bool = Field(description="it says that it is running, and nobody works on it")
    events: list[Event] = Field(description="the last ones")
    problems: list[str] = Field(description="what could not be read, a sentence each")
    cluster: ClusterView | None = Field(description="null for a run that is in no cluster")


class StatusAnswer(Status, _Seen):
    """Where a run is."""


class NotStartedAnswer(_Seen):
    """Where a run is whose first stage has not started."""

    run_id: str
    state: State


class ListAnswer(Answer):
    """The runs of a store, newest first."""

    runs: list[IndexRecord]


class _PodLine(BaseModel):
    source: str = Field(description="stage, with what tells its pods apart")
    pod: str
    container: str


class StageLineAnswer(LogLine, _PodLine):
    """A line that a stage printed; what is null is left out."""


class TextLineAnswer(_PodLine):
    """A line that something else printed."""

    message: str


class ReportAnswer(Answer):
    """The page that was written."""

    run_id: str
    state: State
    report: str = Field(description="the file")
    outcome: list[OutcomeRow] = Field(description="as `run` prints it")
    problems: list[str] = Field(description="what could not be read, a sentence each")


class ComparedLine(Answer):
    """One thing that was compared."""

    name: str
    values: list[Value] = Field(description="a value a run, null where it has none")


class CompareAnswer(Answer):
    """Runs side by side."""

    runs: list[str]
    inputs: list[ComparedLine] = Field(description="those that differ")
    results: list[ComparedLine] = Field(description="all")
    problems: list[str] = Field(description="what could not be read, a sentence each")


class DownloadedFile(Answer):
    """A file on this machine."""

    file: str
    size: int = Field(description="bytes")
    sha256: str | None = Field(description="null for records that no manifest covers")
    fetched: bool = Field(description="false: it was there already")


class DownloadAnswer(Answer):
    """What was fetched."""

    run_id: str
    published: bool = Field(description="false, with --partial: nothing of it is proven")
    folder: str
    files: list[DownloadedFile]


class RemovedObjects(Answer):
    """What an ended run has in the cluster."""

    run_id: str
    objects: list[str] = Field(description="kind and name of each")


class RemovedFiles(Answer):
    """What is not needed in the store."""

    kind: Kind
    of: str = Field(description="run id, or digest")
    files: int
    size: int = Field(description="bytes")


class GcAnswer(Answer):
    """What was removed, or with --dry-run would be."""

    cluster: list[RemovedObjects]
    store: list[RemovedFiles]


class DoctorAnswer(Answer):
    """What was looked at."""

    ok: bool = Field(description="no finding would make a run fail")
    findings: list[Finding]


class SecretSet(Answer):
    """A Secret that was written."""

    namespace: str
    name: str
    keys: list[str] = Field(description="keys that got a value")
    created: bool = Field(description="false: it was there already")


class SecretsSetAnswer(Answer):
    """The Secrets that were written; no value is shown."""

    secrets: list[SecretSet]


class SecretChecked(Answer):
    """A Secret that was looked at."""

    namespace: str
    name: str
    exists: bool
    missing: list[str] = Field(description="keys that pods read and that it lacks")
    differing: list[str] = Field(description="keys with another value than this environment")
    usable: bool


class SecretsCheckAnswer(Answer):
    """The Secrets that the configuration names."""

    secrets: list[SecretChecked]


class ObjectsAnswer(Answer):
    """The run's objects, as kubectl takes them."""

    apiVersion: Literal["v1"]  # noqa: N815  Kubernetes' name
    kind: Literal["List"]
    items: list[dict[str, Any]]


class FilesAnswer(Answer):
    """With -o: the files that were written."""

    run_id: str
    files: list[str]


class DiffAnswer(Answer):
    """What a run would change in its cluster."""

    run_id: str
    state: State | None = Field(description="in the store; null where it is not known there")
    objects: list[Difference]


class ExplainAnswer(Answer):
    """A key, a section or a group; what it does not have is left out."""

    key: str
    meaning: str | None = None
    allowed: str | None = Field(None, description="of a key")
    default: str | None = Field(None, description="of a key, as JSON text")
    set_by: str | None = Field(
        None, alias="set by", description="of a key: files and overrides, the last one wins"
    )
    choices: str | None = Field(None, description="of a group")
    example: str | None = None
    keys: dict[str, str] | None = Field(None, description="of a section: key to meaning")


class BadRow(Answer):
    """A row that cannot be trained on."""

    file: str
    number: int = Field(description="from 1")
    unit: Literal["line", "row"]
    id: str | None
    reason: str


class ValidDataAnswer(Answer):
    """A data set that can be trained on."""

    ok: Literal[True]
    rows: dict[str, int] = Field(description="rows by split")
    files: list[FileSummary]
    problems: list[BadRow] = Field(description="rows left out, within dataset.max_bad")


class BadDataAnswer(Answer):
    """A data set that a run would refuse; exit code 3."""

    ok: Literal[False]
    problems: list[BadRow]


# Command to what it prints. `logs` prints one object a line.
PRINTED: dict[str, Any] = {
    "run": RunAnswer,
    "submit": PlanAnswer | RunningAnswer | RunAnswer,
    "sweep": SweepAnswer | SweepPlanAnswer,
    "render": ObjectsAnswer | FilesAnswer,
    "diff": DiffAnswer,
    "resume": RunAnswer | PlanAnswer | RunningAnswer,
    "list": ListAnswer,
    "status": StatusAnswer | NotStartedAnswer,
    "logs": StageLineAnswer | TextLineAnswer,
    "cancel": CancelAnswer,
    "report": ReportAnswer,
    "compare": CompareAnswer,
    "download": DownloadAnswer,
    "gc": GcAnswer,
    "estimate": Estimate,
    "doctor": DoctorAnswer,
    "secrets set": SecretsSetAnswer,
    "secrets check": SecretsCheckAnswer,
    "config show": Config,
    "config explain": ExplainAnswer,
    "config groups": dict[str, dict[str, str]],
    "data validate": ValidDataAnswer | BadDataAnswer,
    "data stats": DatasetStats,
    "data push": DatasetRecord,
    "version": dict[str, str | None],
}
