"""The objects of a pod that is tried: those of a run, whose pod only looks at the store."""

from __future__ import annotations

import copy
import hashlib
import secrets
from pathlib import Path

from ftctl.cluster.apply import pod_of
from ftctl.cluster.kinds import Object
from ftctl.cluster.workloads import jobs_in
from ftctl.contract.lineage import DatasetRecord
from ftctl.contract.names import run_id
from ftctl.contract.pods import CONFIG_PATH
from ftctl.contract.runfile import ModelSource, RunFile
from ftctl.contract.spec import Config
from ftctl.manifests.run import run_objects
from ftctl.runs.certificates import read_certificates

NAME = "doctor"
# A look at the store, and nothing at all: the one tells of the store, both of their images.
_CONVERT = ["python", "-m", "ftctl.storage.probe", CONFIG_PATH]
_TRAIN = ["python", "-c", ""]
_RESOURCES = {
    "requests": {"cpu": "50m", "memory": "256Mi"},
    "limits": {"memory": "256Mi"},
}


def trial_run(config: Config) -> RunFile:
    """A run of this profile and store, of no model and no data; never registered."""
    digest = hashlib.sha256(secrets.token_bytes(32)).hexdigest()
    return RunFile(
        run_id=run_id(NAME, digest),
        content_hash=digest,
        model=ModelSource(name=NAME, kind="hub", revision=digest[:40]),
        data=DatasetRecord(digest=digest, splits={}, rows={}),
        template="",
        config=config.model_copy(update={"other": type(config.other)()}),
    )


def trial_objects(run: RunFile, base_dir: Path) -> tuple[list[Object], Object]:
    """
    All objects of the run, in the order to create them; then the pod, which stands for its Jobs.

    The pod is the convert stage's: its environment, Secrets, certificates, network policy and
    security; the train stage's image runs beside. It asks for little, and for no GPU.

    Raises:
        ConfigError, ManifestError: submit would refuse the profile too.
    """
    objects = run_objects(run, ca_pem=read_certificates(run.config, base_dir))
    train, convert = jobs_in(objects)
    pod = pod_of(convert)
    spec = pod["spec"]
    spec.pop("initContainers", None)
    beside = copy.deepcopy(train["spec"]["template"]["spec"]["containers"][0])
    spec["containers"] = [
        {**spec["containers"][0], "command": _CONVERT, "resources": _RESOURCES},
        {**beside, "command": _TRAIN, "resources": _RESOURCES},
    ]
    pod["metadata"] = {
        "name": run.run_id,
        "namespace": convert["metadata"]["namespace"],
        "labels": pod["metadata"]["labels"],
    }
    return objects, {"apiVersion": "v1", "kind": "Pod", **pod}
