"""URLs that mean one thing on this machine and another in a pod."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from ftctl.contract.podurls import pod_urls
from ftctl.contract.spec import Config
from ftctl.errors import ConfigError


def refuse_loopback(config: Config) -> None:
    """
    Refuse servers at localhost: in a pod that is the pod itself.

    Raises:
        ConfigError: names the key.
    """
    for key, url in pod_urls(config).items():
        host = urlsplit(url).hostname
        if host and _is_loopback(host):
            raise ConfigError(
                f"{host} is this machine, and in a pod it is the pod",
                where=key,
                hint="Name the server by an address that the cluster reaches.",
            )


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
