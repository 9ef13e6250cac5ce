"""A run as Kubernetes objects. Pure: equal runs give equal objects."""

from __future__ import annotations

from typing import Any

from ftctl.contract.runfile import RunFile

Manifest = dict[str, Any]


def run_objects(
    run: RunFile, *, ca_pem: str | None = None, disk_bytes: int | None = None
) -> list[Manifest]:
    """
    Everything a run is in a cluster, in the order to create it.

    Args:
        ca_pem: certificates of private authorities, where the profile or the store has some.
        disk_bytes: disk that a pod needs, from the estimate; for profiles that do not say.
    Raises:
        ConfigError: the run cannot work in a cluster, or not yet.
        ManifestError: an object would be larger than Kubernetes takes.
    """
    raise NotImplementedError
