"""Sections that say where and how a run happens, and never what comes out of it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ftctl.contract.section import Positive, Section


class ResourcesConfig(Section):
    """What a stage's container asks for, as Kubernetes quantities."""

    cpu: str = "4"
    memory: str = "32Gi"
    ephemeral_storage: str | None = Field(None, description="null: from the estimate")


class StageResources(Section):
    """Resources by stage."""

    train: ResourcesConfig = Field(default_factory=ResourcesConfig)
    convert: ResourcesConfig = Field(default_factory=ResourcesConfig)


class CacheConfig(Section):
    """Where the base model is kept between runs."""

    kind: Literal["none", "pvc", "hostPath"] = "none"
    name: str | None = Field(None, description="claim name, or path on the node")


class ClusterConfig(Section):
    """A profile: where and on what a run's pods run. Never part of a run's identity."""

    engine: Literal["auto", "job", "jobset"] = "auto"
    namespace: str = "default"
    queue: str | None = Field(None, description="Kueue local queue")
    priority: str | None = Field(None, description="priority class")
    gpus: int = Field(1, ge=0, description="GPUs a node")
    nodes: Positive = 1
    gpu_resource: str = "nvidia.com/gpu"
    image_train: str | None = None
    image_convert: str | None = None
    resources: StageResources = Field(default_factory=StageResources)
    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: list[dict[str, Any]] = Field(default_factory=list)
    service_account: str | None = None
    image_pull_secrets: list[str] = Field(default_factory=list)
    cache: CacheConfig = Field(default_factory=CacheConfig)
    env: dict[str, str] = Field(default_factory=dict)
    ca_bundle: str | None = Field(None, description="file with certificates of a private authority")
    proxy: str | None = None
    hf_endpoint: str | None = Field(None, description="mirror of the model hub")
    price_per_hour: float | None = Field(None, ge=0, description="price of one node and hour")
    ttl: int | None = Field(None, ge=0, description="seconds a finished Job stays")


class StorageConfig(Section):
    """The store. Never part of a run's identity."""

    url: str | None = Field(
        None, description="folder, or s3://bucket/prefix; null is paths.output_dir"
    )
    endpoint_url: str | None = Field(None, description="S3 server other than AWS")
    region: str | None = None
    profile: str | None = Field(None, description="profile of the AWS config files")
    secret: str | None = Field(None, description="Kubernetes Secret with the keys")
    sse: str | None = Field(
        None, description="server-side encryption: AES256, aws:kms, or aws:kms:KEY-ID"
    )
    addressing: Literal["auto", "path", "virtual"] = "auto"
    ca_bundle: str | None = Field(None, description="file with certificates of a private authority")


class TrackingConfig(Section):
    """An experiment tracker. Never part of a run's identity."""

    backend: Literal["none", "tensorboard", "wandb", "mlflow"] = "none"
    project: str = "ftctl"
    url: str | None = None
    tags: list[str] = Field(default_factory=list)
