"""Every key in the store. No other module spells one."""

from __future__ import annotations

import re
from dataclasses import dataclass

COMPLETE = "_COMPLETE"
RUNS = "runs/"
INDEX = "index/"
INDEX_PACK = "index.json.gz"
DATASETS = "datasets/"
MODELS = "models/"
SWEEPS = "sweeps/"
EVALUATIONS = "evaluations/"
# Below a run's reference: the one over the base as it was quantized for training.
NF4 = "nf4/"

# Index keys sort newest first: object stores list in key order only.
_INDEX_EPOCH_MS = 9_999_999_999_999
_INDEX_KEY = re.compile(rf"{INDEX}\d{{13}}-(.+)\.json")


@dataclass(frozen=True)
class RunLayout:
    """Keys of one run."""

    run_id: str

    @property
    def root(self) -> str:
        return f"{RUNS}{self.run_id}/"

    @property
    def config(self) -> str:
        return f"{self.root}config.yaml"

    @property
    def status(self) -> str:
        return f"{self.root}status.json"

    @property
    def metrics(self) -> str:
        return f"{self.root}metrics.jsonl"

    @property
    def events(self) -> str:
        return f"{self.root}events.jsonl"

    @property
    def lease(self) -> str:
        return f"{self.root}lease.json"

    @property
    def checkpoints(self) -> str:
        return f"{self.root}checkpoints/"

    def checkpoint(self, step: int) -> str:
        """Prefix of the checkpoint taken after `step` optimizer steps."""
        return f"{self.checkpoints}step-{step}/"

    @property
    def adapter(self) -> str:
        return f"{self.root}adapter/"

    @property
    def reference(self) -> str:
        return f"{self.root}reference/"

    @property
    def gguf(self) -> str:
        return f"{self.root}gguf/"

    @property
    def merged(self) -> str:
        return f"{self.root}merged/"

    @property
    def verification(self) -> str:
        return f"{self.root}verify.json"

    @property
    def evaluation(self) -> str:
        return f"{self.root}eval.json"

    @property
    def report(self) -> str:
        return f"{self.root}report.html"

    @property
    def tensorboard(self) -> str:
        """Event file of tracking=tensorboard."""
        return f"{self.root}tensorboard/events.out.tfevents.0.ftctl"

    @property
    def wandb(self) -> str:
        """Folder that `wandb sync` takes, of a run tracked offline."""
        return f"{self.root}wandb/"

    @property
    def manifest(self) -> str:
        return f"{self.root}manifest.json"

    @property
    def success(self) -> str:
        return f"{self.root}_SUCCESS"

    @property
    def pushed(self) -> str:
        return f"{self.root}pushed.json"

    @property
    def cancelled(self) -> str:
        return f"{self.root}_CANCELLED"

    @property
    def failed(self) -> str:
        return f"{self.root}_FAILED"

    @property
    def placement(self) -> str:
        return f"{self.root}placement.json"

    @property
    def failures(self) -> str:
        return f"{self.root}failures/"

    def failure(self, name: str) -> str:
        """Key of what was kept of a pod, or Job, that failed."""
        return f"{self.failures}{name}.json"

    def index(self, created_ms: int) -> str:
        """Key of the run's index record; `created_ms` is Unix time in milliseconds."""
        return f"{INDEX}{_INDEX_EPOCH_MS - created_ms:013d}-{self.run_id}.json"


@dataclass(frozen=True)
class DatasetLayout:
    """Keys of one content-addressed data set; `digest` is 64 hex digits."""

    digest: str

    @property
    def root(self) -> str:
        return f"{DATASETS}{self.digest}/"

    def split(self, name: str) -> str:
        """Key of a split: train, eval or test."""
        return f"{self.root}{name}.jsonl"

    @property
    def record(self) -> str:
        return f"{self.root}digest.json"


@dataclass(frozen=True)
class ModelLayout:
    """Keys of a base model that is no hub's, by its content; `revision` is 64 hex digits."""

    revision: str

    @property
    def root(self) -> str:
        return f"{MODELS}{self.revision}/"


@dataclass(frozen=True)
class SweepLayout:
    """Keys of one sweep; its children are runs among the others."""

    sweep_id: str

    @property
    def root(self) -> str:
        return f"{SWEEPS}{self.sweep_id}/"

    @property
    def record(self) -> str:
        return f"{self.root}sweep.json"

    @property
    def report(self) -> str:
        return f"{self.root}report.html"

    @property
    def placement(self) -> str:
        return f"{self.root}placement.json"

    @property
    def cancelled(self) -> str:
        return f"{self.root}_CANCELLED"


def alias_key(name: str) -> str:
    """Key of the pointer from a name to a run."""
    return f"aliases/{name}.json"


def marker(prefix: str) -> str:
    """Key of the completion marker that covers `prefix`."""
    return f"{prefix}{COMPLETE}"


def indexed_run(key: str) -> str | None:
    """The run id in the key of an index record, or None where `key` is none."""
    match = _INDEX_KEY.fullmatch(key)
    return match[1] if match else None


def base_evaluation(data: str, key: str) -> str:
    """What a base model answers to the rows of a data set, by the digest of all it depends on."""
    return f"{EVALUATIONS}{data}/{key}.json"
