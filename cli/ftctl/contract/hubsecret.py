"""The Kubernetes Secret that pods take the model hub's token from."""

from __future__ import annotations

from ftctl.contract.pods import HUB_TOKEN
from ftctl.contract.spec import Config


def hub_secret(config: Config) -> tuple[str, str] | None:
    """
    Name and key; None where pods have no token.

    The profile's cluster.hf_secret wins over a reference in other.hf_token, `secret:NAME/KEY`.
    """
    scheme, _, referred = (config.other.hf_token or "").partition(":")
    named = config.cluster.hf_secret or (referred if scheme == "secret" else None)
    if not named:
        return None
    name, _, key = named.partition("/")
    return name, key or HUB_TOKEN
