"""The environment of a run's containers: settings by value, secrets by reference."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from ftctl.contract.hubsecret import hub_secret
from ftctl.contract.operational import ResourcesConfig
from ftctl.contract.pods import CA_PATH, CACHE_DIR, HUB_TOKEN, IMAGE_VARIABLES, WORK_DIR
from ftctl.contract.quantity import cpu_cores
from ftctl.contract.spec import Config
from ftctl.contract.status import Stage
from ftctl.manifests.metadata import Manifest
from ftctl.manifests.network import host

# Every library keeps its files where a pod may write. What is worth keeping is in the cache.
_FOLDERS = {
    "HOME": WORK_DIR,
    "TMPDIR": WORK_DIR,
    "FTCTL_CACHE": f"{CACHE_DIR}/ftctl",
    "HF_HOME": f"{CACHE_DIR}/huggingface",
    "XDG_CACHE_HOME": f"{CACHE_DIR}/xdg",
    "TORCHINDUCTOR_CACHE_DIR": f"{CACHE_DIR}/inductor",
    "TRITON_CACHE_DIR": f"{CACHE_DIR}/triton",
}
# Read by the AWS client, requests, and all that use OpenSSL's own defaults (httpx, urllib).
_CA_VARIABLES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
_CLUSTER_INTERNAL = ("localhost", "127.0.0.1", "::1", ".svc", ".cluster.local")


def variables(
    config: Config,
    stage: Stage,
    images: Mapping[Stage, str],
    group: Mapping[str, str] = MappingProxyType({}),
) -> list[Manifest]:
    """
    The `env` of a stage's container; what the profile sets wins.

    Args:
        images: of the stages, for the lineage.
        group: what processes that train together are told.
    Raises:
        ConfigError: a URL of the profile is none.
    """
    found = {
        "FTCTL_LOG": "json",
        "FTCTL_THREADS": str(threads(config.cluster.resources_of(stage))),
        "PYTHONUNBUFFERED": "1",
        **_FOLDERS,
        **_network(config),
    }
    if stage == "convert":  # the stage that writes the lineage
        found |= {IMAGE_VARIABLES[each]: image for each, image in images.items()}
    found |= group
    found |= config.cluster.env
    return [{"name": name, "value": value} for name, value in found.items()]


def secret_variables(config: Config) -> list[Manifest]:
    """The `env` that Secrets fill."""
    found = hub_secret(config)
    if found is None:
        return []
    name, key = found
    reference = {"secretKeyRef": {"name": name, "key": key}}
    return [{"name": HUB_TOKEN, "valueFrom": reference}]


def secret_sources(config: Config, stage: Stage | None) -> list[Manifest]:
    """The `envFrom`: the store's keys, and of a stage the tracker's or the registry's."""
    of_stage = {"train": config.tracking.secret, "convert": config.publish.secret}
    names = [config.storage.secret, of_stage[stage] if stage else None]
    return [{"secretRef": {"name": name}} for name in names if name]


def threads(resources: ResourcesConfig) -> int:
    """Threads for the cores asked for, at least one: a pod sees all cores of its node."""
    return max(1, math.floor(cpu_cores(resources.cpu)))


def _network(config: Config) -> dict[str, str]:
    """Proxy, hub mirror, and certificates where all connections are to trust them."""
    cluster, found = config.cluster, dict[str, str]()
    if cluster.hf_endpoint:
        found["HF_ENDPOINT"] = cluster.hf_endpoint
    if cluster.proxy:
        direct = list(_CLUSTER_INTERNAL)
        if config.storage.endpoint_url:
            direct.append(host(config.storage.endpoint_url, "storage.endpoint_url"))
        found |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY"), cluster.proxy)
        found["NO_PROXY"] = ",".join(direct)
    if cluster.ca_bundle:
        found |= dict.fromkeys(_CA_VARIABLES, CA_PATH)
    return found
