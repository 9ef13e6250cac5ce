"""What a run must have to work in a cluster; everything that is missing is said at once."""

from __future__ import annotations

from collections.abc import Iterator

from ftctl.contract.batches import share_of
from ftctl.contract.hubsecret import hub_secret
from ftctl.contract.spec import Config
from ftctl.errors import ConfigError

S3 = "s3://"


def refuse_unfit(config: Config) -> None:
    """
    Refuse what pods could not work with, and what is not there yet.

    Raises:
        ConfigError: names each problem.
    """
    problems = [*_store(config), *_profile(config)]
    if len(problems) == 1:
        raise problems[0]
    if problems:
        lines = "".join(f"\n  {problem.where}: {problem.what}" for problem in problems)
        raise ConfigError(f"{len(problems)} settings do not fit a cluster{lines}")


def _store(config: Config) -> Iterator[ConfigError]:
    url = config.storage.url
    if not url or not url.startswith(S3):
        yield ConfigError(
            f"the store is {url or 'a folder'}, and pods cannot reach this machine",
            where="storage.url",
            hint="Name a bucket: storage=s3 storage.url=s3://bucket/prefix.",
        )


def _profile(config: Config) -> Iterator[ConfigError]:
    cluster = config.cluster
    try:
        share_of(config.training, cluster.processes)
    except ConfigError as error:
        yield error
    if cluster.cache.kind != "none" and not cluster.cache.name:
        what = "claim" if cluster.cache.kind == "pvc" else "path on the node"
        yield ConfigError(f"the {what} is not named", where="cluster.cache.name")
    if config.publish.hub and hub_secret(config) is None:
        yield ConfigError(
            "pods push there, but no Secret with a hub token is named",
            where="publish.hub",
            hint="Set cluster.hf_secret=NAME; `ftctl secrets set` makes it from the environment.",
        )
    if config.other.hf_login and hub_secret(config) is None:
        yield ConfigError(
            "other.hf_login is true, but no Secret with a hub token is named",
            where="cluster.hf_secret",
            hint="`ftctl secrets set` makes one from the environment.",
        )
