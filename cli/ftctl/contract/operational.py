"""Sections that say where and how a run happens, and never what comes out of it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from ftctl.contract.quantity import quantity_bytes
from ftctl.contract.section import Positive, Section


class ResourcesConfig(Section):
    """What a stage's container asks for, as Kubernetes quantities."""

    cpu: str = Field("4", description="CPU cores asked for")
    memory: str = Field("32Gi", description="memory asked for, and the limit")
    ephemeral_storage: str | None = Field(
        None, description="disk of the pod; null takes it from the estimate"
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
    namespace: str = Field("default", description="namespace of everything a run creates")
    queue: str | None = Field(None, description="Kueue local queue")
    priority: str | None = Field(None, description="priority class")
    gpus: int = Field(1, ge=0, description="GPUs a node")
    nodes: Positive = Field(1, description="nodes the train stage runs on")
    gpu_resource: str = Field("nvidia.com/gpu", description="resource name of the GPUs")
    gpu_memory: str | None = Field(
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
    tolerations: list[dict[str, Any]] = Field(
        default_factory=list, description="taints that pods accept, as Kubernetes spells them"
    )
    service_account: str | None = Field(
        None, description="service account of the pods; null creates one for the run"
    )
    image_pull_secrets: list[str] = Field(
        default_factory=list, description="names of Secrets that open the image registry"
    )
    cache: CacheConfig = Field(
        default_factory=CacheConfig, description="where the base model is kept between runs"
    )
    env: dict[str, str] = Field(
        default_factory=dict, description="environment of the pods; never a secret"
    )
    ca_bundle: str | None = Field(None, description="file with certificates of a private authority")
    proxy: str | None = Field(None, description="HTTP proxy of the pods, without a password")
    hf_endpoint: str | None = Field(None, description="mirror of the model hub")
    price_per_hour: float | None = Field(None, ge=0, description="price of one node and hour")
    ttl: int | None = Field(None, ge=0, description="seconds a finished Job stays")

    @field_validator("gpu_memory")
    @classmethod
    def _is_an_amount(cls, value: str | None) -> str | None:
        if value is not None:
            quantity_bytes(value)
        return value


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


class TrackingConfig(Section):
    """An experiment tracker. Never part of a run's identity."""

    backend: Literal["none", "tensorboard", "wandb", "mlflow"] = Field(
        "none", description="where metrics go besides the store"
    )
    project: str = Field("ftctl", description="project, or experiment, that runs appear in")
    url: str | None = Field(None, description="tracking server; null is the backend's own")
    tags: list[str] = Field(default_factory=list, description="labels of the run there")
