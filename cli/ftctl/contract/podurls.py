"""The servers that pods talk to by a URL of the configuration."""

from __future__ import annotations

from ftctl.contract.ocireference import oci_reference
from ftctl.contract.spec import Config


def pod_urls(config: Config) -> dict[str, str]:
    """The URLs that are set, by their key."""
    urls = {
        "storage.endpoint_url": config.storage.endpoint_url,
        "cluster.hf_endpoint": config.cluster.hf_endpoint,
        "cluster.proxy": config.cluster.proxy,
        "tracking.url": config.tracking.url,
        "publish.oci": oci_reference(config.publish.oci).url if config.publish.oci else None,
    }
    return {key: url for key, url in urls.items() if url}
