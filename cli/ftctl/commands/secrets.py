"""`ftctl secrets`: the Secrets that pods take their keys from."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import typer

from ftctl.commands.options import AsJson, ConfigDir, ConfigName, Overrides
from ftctl.errors import ClusterError, UsageError

if TYPE_CHECKING:
    from ftctl.cluster.secrets import SecretState, WantedSecret
    from ftctl.commands.answers import SecretChecked
    from ftctl.contract.spec import Config

app = typer.Typer(
    help="Create and check the Secrets that a run's pods refer to.", no_args_is_help=True
)


@app.command("set")
def set_(
    overrides: Overrides = None,
    as_json: AsJson = False,
    config_dir: ConfigDir = None,
    config_name: ConfigName = None,
) -> None:
    """Create the Secrets from this environment, or give them its values; no value is shown.

    storage.secret takes AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN,
    cluster.hf_secret takes HF_TOKEN, and tracking.secret what its backend reads.

    Example: ftctl secrets set storage=s3 storage.secret=ftctl-s3
    """
    from ftctl.cluster.open import open_cluster
    from ftctl.cluster.secrets import require_values, set_secret
    from ftctl.commands.answers import SecretSet, SecretsSetAnswer

    config, wanted = _wanted(overrides, config_dir, config_name)
    require_values(wanted, os.environ)
    cluster = open_cluster(config.cluster.context)
    namespace = config.cluster.namespace
    told = []
    for secret in wanted:
        is_new = set_secret(cluster, namespace, secret, os.environ)
        keys = [key for key, name in secret.keys.items() if os.environ.get(name)]
        told.append(SecretSet(namespace=namespace, name=secret.name, keys=keys, created=is_new))
        if not as_json:
            done = "created" if is_new else "updated"
            typer.echo(f"{done} Secret {namespace}/{secret.name}: {', '.join(keys)}")
    if as_json:
        typer.echo(SecretsSetAnswer(secrets=told).model_dump_json())


@app.command()
def check(
    overrides: Overrides = None,
    as_json: AsJson = False,
    config_dir: ConfigDir = None,
    config_name: ConfigName = None,
) -> None:
    """Check that the Secrets are there and have the keys that pods read; no value is shown.

    Example: ftctl secrets check storage=s3 storage.secret=ftctl-s3
    """
    from ftctl.cluster.open import open_cluster
    from ftctl.cluster.secrets import secret_state

    config, wanted = _wanted(overrides, config_dir, config_name)
    cluster = open_cluster(config.cluster.context)
    namespace = config.cluster.namespace
    states = [secret_state(cluster, namespace, secret, os.environ) for secret in wanted]
    if as_json:
        from ftctl.commands.answers import SecretsCheckAnswer

        told = SecretsCheckAnswer(secrets=[_told(namespace, state) for state in states])
        typer.echo(told.model_dump_json())
    else:
        for state in states:
            typer.echo(f"Secret {namespace}/{state.wanted.name}: {_said(state)}")
    unusable = [state.wanted.name for state in states if not state.usable]
    if unusable:
        raise ClusterError(
            f"pods cannot use {', '.join(unusable)}",
            where=namespace,
            hint="`ftctl secrets set` makes them from your environment.",
        )


def _wanted(
    overrides: Overrides, config_dir: ConfigDir, config_name: ConfigName
) -> tuple[Config, list[WantedSecret]]:
    from ftctl.cluster.secrets import wanted_secrets
    from ftctl.config.compose import compose

    config = compose(overrides or [], config_dir=config_dir, config_name=config_name)
    wanted = wanted_secrets(config)
    if not wanted:
        raise UsageError(
            "the configuration names no Secret",
            hint="Name them: storage.secret=NAME, cluster.hf_secret=NAME, tracking.secret=NAME.",
        )
    return config, wanted


def _said(state: SecretState) -> str:
    if not state.exists:
        return "there is none"
    if state.missing:
        return f"without {', '.join(state.missing)}"
    if state.differing:
        return f"there, with another {', '.join(state.differing)} than this environment"
    return "there"


def _told(namespace: str, state: SecretState) -> SecretChecked:
    from ftctl.commands.answers import SecretChecked

    return SecretChecked(
        namespace=namespace,
        name=state.wanted.name,
        exists=state.exists,
        missing=list(state.missing),
        differing=list(state.differing),
        usable=state.usable,
    )
