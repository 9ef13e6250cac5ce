"""The servers that pods talk to by a URL of the configuration."""

from __future__ import annotations

from ftctl.contract.spec import Config


def pod_urls(config: Config) -> dict[str, str]:
    """The URLs that are set, by their key."""
    urls = {
        "storage.endpoint_url": config.storage.endpoint_url,
        "cluster.hf_endpoint": config.cluster.hf_endpoint,
        "cluster.proxy": config.cluster.proxy,
        "tracking.url": config.tracking.url,
    }
    return {key: url for key, url in urls.items() if url}
