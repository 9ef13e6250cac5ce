"""The Secrets that a profile names: made from the environment, and looked at, values unsaid."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ftctl.cluster.client import Cluster
from ftctl.cluster.failures import ExistsError
from ftctl.cluster.kinds import SECRET, Object
from ftctl.contract import labels
from ftctl.contract.hubsecret import hub_secret
from ftctl.contract.pods import HUB_TOKEN, REGISTRY_PASSWORD, REGISTRY_USER
from ftctl.contract.spec import Config
from ftctl.errors import ConfigError

_AWS_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_AWS_TOKEN = "AWS_SESSION_TOKEN"
# What the trackers' own clients read.
_TRACKERS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "wandb": (("WANDB_API_KEY",), ()),
    "mlflow": (
        (),
        ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"),
    ),
}


@dataclass(frozen=True)
class WantedSecret:
    """
    A Secret that pods refer to.

    Attributes:
        setting: the key of the configuration that names it.
        required, optional: its keys, to the environment variables that they come from.
    """

    name: str
    setting: str
    required: Mapping[str, str]
    optional: Mapping[str, str]

    @property
    def keys(self) -> dict[str, str]:
        """All keys that it may have."""
        return {**self.required, **self.optional}


@dataclass(frozen=True)
class SecretState:
    """What a Secret is like. `differing` keys have another value than the environment here."""

    wanted: WantedSecret
    exists: bool
    missing: tuple[str, ...] = ()
    differing: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether pods find in it what they must have."""
        return self.exists and not self.missing


def wanted_secrets(config: Config) -> list[WantedSecret]:
    """The Secrets that a configuration names, each once."""
    found = []
    if config.storage.secret:
        required, optional = _same(_AWS_KEYS), _same((_AWS_TOKEN,))
        found.append(WantedSecret(config.storage.secret, "storage.secret", required, optional))
    hub = hub_secret(config)
    if hub:
        name, key = hub
        setting = "cluster.hf_secret" if config.cluster.hf_secret else "other.hf_token"
        found.append(WantedSecret(name, setting, {key: HUB_TOKEN}, {}))
    if config.tracking.secret:
        required_keys, optional_keys = _TRACKERS.get(config.tracking.backend, ((), ()))
        found.append(
            WantedSecret(
                config.tracking.secret,
                "tracking.secret",
                _same(required_keys),
                _same(optional_keys),
            )
        )
    if config.publish.secret:
        keys = _same((REGISTRY_USER, REGISTRY_PASSWORD))
        found.append(WantedSecret(config.publish.secret, "publish.secret", keys, {}))
    return _joined(found)


def set_secret(
    cluster: Cluster, namespace: str, wanted: WantedSecret, environment: Mapping[str, str]
) -> bool:
    """
    Create a Secret from the environment, or give one that is there these values.

    Keys of it that the environment has no value for are removed, as a session token that belonged
    to older keys; keys that are not ours stay.

    Returns:
        Whether it is new.
    Raises:
        ConfigError: the environment lacks a value that is needed.
        ClusterError: the cluster refused.
    """
    require_values([wanted], environment)
    values = {key: environment.get(name) for key, name in wanted.keys.items()}
    body: Object = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": wanted.name,
            "namespace": namespace,
            "labels": {labels.NAME: labels.PROGRAM, labels.MANAGED_BY: labels.PROGRAM},
        },
        "type": "Opaque",
        "data": {key: _encoded(value) for key, value in values.items() if value},
    }
    try:
        cluster.create(body)
        return True
    except ExistsError:
        # A null takes a key out of what is there (RFC 7386).
        removed = {key: None for key, value in values.items() if not value}
        del body["type"]
        cluster.patch({**body, "data": {**body["data"], **removed}})
        return False


def require_values(wanted: Sequence[WantedSecret], environment: Mapping[str, str]) -> None:
    """Raise ConfigError for all values that the environment lacks; nothing is made before."""
    lacking = {
        name: secret.setting
        for secret in wanted
        for name in secret.required.values()
        if not environment.get(name)
    }
    lacking |= {
        " or ".join(secret.optional.values()): secret.setting
        for secret in wanted
        if not secret.required and not any(map(environment.get, secret.optional.values()))
    }
    if lacking:
        raise ConfigError(
            f"no value for {', '.join(lacking)} in the environment",
            where=", ".join(dict.fromkeys(lacking.values())),
            hint="Export the variables, and run it again; values are never taken as arguments.",
        )


def secret_state(
    cluster: Cluster, namespace: str, wanted: WantedSecret, environment: Mapping[str, str]
) -> SecretState:
    """
    Look at a Secret.

    Raises:
        ForbiddenError: this user may not read Secrets, which says nothing of the pods.
        ClusterError: the cluster cannot be asked.
    """
    present = cluster.find(SECRET, wanted.name, namespace)
    if present is None:
        return SecretState(wanted, exists=False)
    data = present.get("data") or {}
    missing = [key for key in wanted.required if not data.get(key)]
    if not wanted.required and not any(data.get(key) for key in wanted.optional):
        missing = list(wanted.optional)
    differing = [
        key
        for key, name in wanted.keys.items()
        if environment.get(name) and data.get(key) and data[key] != _encoded(environment[name])
    ]
    return SecretState(wanted, exists=True, missing=tuple(missing), differing=tuple(differing))


def _same(names: Sequence[str]) -> dict[str, str]:
    return {name: name for name in names}


def _joined(found: Sequence[WantedSecret]) -> list[WantedSecret]:
    """One entry a Secret: several settings may name the same."""
    by_name: dict[str, WantedSecret] = {}
    for one in found:
        other = by_name.get(one.name)
        by_name[one.name] = one if other is None else _both(other, one)
    return list(by_name.values())


def _both(one: WantedSecret, other: WantedSecret) -> WantedSecret:
    return WantedSecret(
        name=one.name,
        setting=f"{one.setting}, {other.setting}",
        required={**one.required, **other.required},
        optional={**one.optional, **other.optional},
    )


def _encoded(value: str) -> str:
    return base64.b64encode(value.encode()).decode()
