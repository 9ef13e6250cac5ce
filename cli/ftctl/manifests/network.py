"""What the pods of a run may talk to."""

from __future__ import annotations

from urllib.parse import urlsplit

from ftctl.contract import labels
from ftctl.contract.podurls import pod_urls
from ftctl.contract.runfile import RunFile
from ftctl.contract.spec import Config
from ftctl.errors import ConfigError
from ftctl.manifests.metadata import Manifest, metadata

_HTTPS = 443
# The second is what OpenShift's DNS pods have behind port 53 of their Service.
_DNS = (53, 5353)
_DEFAULT_PORTS = {"http": 80, "https": _HTTPS}
DNS_RULE: Manifest = {
    "ports": [{"protocol": protocol, "port": port} for port in _DNS for protocol in ("UDP", "TCP")]
}
# Where clouds hand out the identity of a pod or node, by plain HTTP: link-local, RFC 3927.
IDENTITY_RULE: Manifest = {
    "to": [{"ipBlock": {"cidr": "169.254.0.0/16"}}],
    "ports": [{"protocol": "TCP", "port": port} for port in (80, 988)],
}


def network_policy(run: RunFile) -> Manifest:
    """
    Nothing comes in; names, HTTPS and the ports of the configured URLs go out.

    A policy sees a packet after a Service's port was replaced by the pod's, which no URL shows:
    cluster.egress_ports names such ports.
    """
    config = run.config
    egress: list[Manifest] = [
        DNS_RULE,
        {"ports": [{"protocol": "TCP", "port": port} for port in egress_ports(config)]},
    ]
    if not config.storage.secret:
        egress.append(IDENTITY_RULE)
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(run, run.run_id),
        "spec": {
            "podSelector": {"matchLabels": {labels.RUN: run.run_id}},
            "policyTypes": ["Ingress", "Egress"],
            "egress": egress,
        },
    }


def egress_ports(config: Config) -> list[int]:
    """
    TCP ports that the configured URLs lead to, HTTPS always among them, in order.

    Raises:
        ConfigError: one of the URLs is none.
    """
    found = {_port(url, key) for key, url in pod_urls(config).items()}
    return sorted({_HTTPS, *config.cluster.egress_ports, *found})


def host(url: str, key: str) -> str:
    """The host of a URL. Raises ConfigError: it has none."""
    return _split(url, key)[0]


def _port(url: str, key: str) -> int:
    return _split(url, key)[1]


def _split(url: str, key: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:  # a port that is no number
        parts, port = urlsplit(""), None
    if not parts.hostname or port is None:
        raise ConfigError(
            f"{url!r} is no http:// or https:// URL with a host",
            where=key,
            hint="Write it as https://host:port.",
        )
    return parts.hostname, port
