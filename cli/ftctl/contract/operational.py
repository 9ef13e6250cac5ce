"""Sections that say where and how a run happens, and never what comes out of it."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from ftctl.contract.ocireference import oci_reference
from ftctl.contract.pods import default_image
from ftctl.contract.section import Positive, Section
from ftctl.contract.status import Stage


def _number_as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
Quantity = Annotated[
    str,
    BeforeValidator(_number_as_text),
    Field(
        pattern=r"^\d+(\.\d+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$", examples=["2", "500m", "16Gi"]
    ),
]
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
Port = Annotated[int, Field(ge=1, le=65535)]


class ResourcesConfig(Section):
    """What a stage's container asks for, as Kubernetes quantities."""

    cpu: Quantity = Field("4", description="CPU cores asked for")
    memory: Quantity = Field("32Gi", description="memory asked for, and the limit")
    ephemeral_storage: Quantity | None = Field(
        None, description="disk asked for; null asks for what `ftctl estimate` shows"
    )


class StageResources(Section):
    """Resources by stage."""

    train: ResourcesConfig = Field(
        default_factory=ResourcesConfig, description="container of the train stage"
    )
    convert: ResourcesConfig = Field(
        default_factory=ResourcesConfig, description="container of the convert stage"
    )


class CacheConfig(Section):
    """Where the base model is kept between runs."""

    kind: Literal["none", "pvc", "hostPath"] = Field(
        "none", description="volume that keeps downloads: a claim, or a folder of the node"
    )
    name: str | None = Field(None, description="claim name, or path on the node")


class ClusterConfig(Section):
    """A profile: where and on what a run's pods run. Never part of a run's identity."""

    engine: Literal["auto", "job", "jobset"] = Field(
        "auto", description="two Jobs, or one JobSet; auto takes JobSet where it is installed"
    )
    context: str | None = Field(
        None, description="context in the kubeconfig; null is its current one"
    )
    namespace: str = Field(
        "default",
        pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        examples=["ml"],
        description="namespace of everything a run creates",
    )
    queue: str | None = Field(None, description="Kueue local queue")
    priority: str | None = Field(None, description="priority class")
    gpus: int = Field(1, ge=0, description="GPUs a node")
    nodes: Positive = Field(1, description="nodes the train stage runs on")
    shard: bool = Field(
        False,
        description="split the quantized base among the devices (FSDP); else each holds all of it",
    )
    gpu_resource: str = Field("nvidia.com/gpu", description="resource name of the GPUs")
    gpu_memory: Quantity | None = Field(
        None, description="memory of one GPU, as 80Gi; null is unknown, and nothing is refused"
    )
    gpu_tflops: float | None = Field(
        None, gt=0, description="dense bf16 TFLOP/s of one GPU, for time and price; null is unknown"
    )
    image_train: str | None = Field(
        None, description="image of the train stage; null is the one of this version"
    )
    image_convert: str | None = Field(
        None, description="image of the convert stage; null is the one of this version"
    )
    resources: StageResources = Field(
        default_factory=StageResources, description="what the containers ask for, by stage"
    )
    node_selector: dict[str, str] = Field(
        default_factory=dict, description="labels a node must have"
    )
    node_selector_convert: dict[str, str] | None = Field(
        None, description="the same for the convert stage, which needs no GPU; null: the same"
    )
    tolerations: list[dict[str, Any]] = Field(
        default_factory=list, description="taints that pods accept, as Kubernetes spells them"
    )
    service_account: str | None = Field(
        None, description="service account of the pods; null creates one for the run"
    )
    service_account_annotations: dict[str, str] = Field(
        default_factory=dict,
        description="annotations of the account that the run makes, for workload identity",
    )
    image_pull_secrets: list[str] = Field(
        default_factory=list, description="names of Secrets that open the image registry"
    )
    cache: CacheConfig = Field(
        default_factory=CacheConfig, description="where the base model is kept between runs"
    )
    shm_size: Quantity = Field(
        "1Gi", description="size of /dev/shm, which counts as memory of the pod"
    )
    env: dict[str, str] = Field(
        default_factory=dict, description="environment of the pods; never a secret"
    )
    hf_secret: str | None = Field(
        None, description="Kubernetes Secret with the hub's token, at its key HF_TOKEN; or NAME/KEY"
    )
    ca_bundle: str | None = Field(
        None, description="file with the certificates of every authority that pods are to trust"
    )
    proxy: str | None = Field(None, description="HTTP proxy of the pods, without a password")
    hf_endpoint: str | None = Field(None, description="mirror of the model hub")
    egress_ports: list[Port] = Field(
        default_factory=list,
        description="TCP ports that pods may reach besides those of the URLs, "
        "as the one behind a Service's",
    )
    backoff_limit: int = Field(4, ge=0, description="failures of a stage until the run is given up")
    deadline: Positive = Field(
        604800, description="seconds a stage may take in all, waiting and retries included"
    )
    grace_period: Positive = Field(
        120, description="seconds a pod that is stopped has to save a checkpoint"
    )
    price_per_hour: float | None = Field(None, ge=0, description="price of one node and hour")
    ttl: int | None = Field(None, ge=0, description="seconds a finished Job stays")

    @model_validator(mode="after")
    def _annotates_what_it_makes(self) -> Self:
        if self.service_account and self.service_account_annotations:
            raise ValueError(
                "service_account_annotations are for an account that the run makes, "
                f"and service_account={self.service_account} names one that is there: annotate that"
            )
        return self

    @property
    def processes_a_node(self) -> int:
        """One a GPU; on a CPU one that uses all cores."""
        return max(self.gpus, 1)

    @property
    def processes(self) -> int:
        """Processes that train a run together."""
        return self.processes_a_node * self.nodes

    @property
    def splits(self) -> bool:
        """Whether the base is split; one process alone has all of it."""
        return self.shard and self.processes > 1

    def resources_of(self, stage: Stage) -> ResourcesConfig:
        """What the container of a stage asks for."""
        return self.resources.train if stage == "train" else self.resources.convert

    def image_of(self, stage: Stage, version: str) -> str:
        """The image of a stage: the profile's, else the one of this version of ftctl."""
        named = self.image_train if stage == "train" else self.image_convert
        return named or default_image(stage, version)


class StorageConfig(Section):
    """The store. Never part of a run's identity."""

    url: str | None = Field(
        None, description="folder, or s3://bucket/prefix; null is paths.output_dir"
    )
    endpoint_url: str | None = Field(None, description="S3 server other than AWS")
    region: str | None = Field(None, description="AWS region, where the server asks for one")
    profile: str | None = Field(None, description="profile of the AWS config files")
    secret: str | None = Field(None, description="Kubernetes Secret with the keys")
    sse: str | None = Field(
        None, description="server-side encryption: AES256, aws:kms, or aws:kms:KEY-ID"
    )
    addressing: Literal["auto", "path", "virtual"] = Field(
        "auto", description="bucket in the path or in the host name"
    )
    ca_bundle: str | None = Field(None, description="file with certificates of a private authority")


class PublishConfig(Section):
    """Where proven files are pushed to besides the store. Never part of a run's identity."""

    hub: str | None = Field(
        None,
        description="model repository at the hub, OWNER/NAME; it is made where there is none",
    )
    private: bool = Field(True, description="a repository that is made there is private")
    oci: str | None = Field(
        None,
        description="place in an OCI registry, HOST/PATH or HOST/PATH:TAG; without a tag the "
        "run's id is the tag; http:// before it for a registry without TLS",
    )
    secret: str | None = Field(
        None,
        description="Kubernetes Secret with the registry's keys OCI_USERNAME and OCI_PASSWORD",
    )

    @field_validator("hub")
    @classmethod
    def _is_a_repository(cls, value: str | None) -> str | None:
        if value is not None and not _REPOSITORY.fullmatch(value):
            raise ValueError(f"{value!r} is no repository of models; write OWNER/NAME")
        return value

    @field_validator("oci")
    @classmethod
    def _is_a_reference(cls, value: str | None) -> str | None:
        if value is not None:
            oci_reference(value)
        return value


class TrackingConfig(Section):
    """An experiment tracker. Never part of a run's identity."""

    backend: Literal["none", "tensorboard", "wandb", "mlflow"] = Field(
        "none", description="where metrics go besides the store"
    )
    project: str = Field("ftctl", description="project, or experiment, that runs appear in")
    url: str | None = Field(None, description="tracking server; null is the backend's own")
    secret: str | None = Field(
        None, description="Kubernetes Secret with the tracker's keys, as environment variables"
    )
    tags: list[str] = Field(default_factory=list, description="labels of the run there")
