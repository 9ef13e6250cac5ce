"""What a run must have to work in a cluster; everything that is missing is said at once."""

from __future__ import annotations

from ftctl.contract.runfile import RunFile
from ftctl.errors import ConfigError

S3 = "s3://"


def refuse_unfit(run: RunFile, *, ca_pem: str | None) -> None:
    """
    Refuse what pods could not work with, and what is not there yet.

    Raises:
        ConfigError: names each problem.
    """
    problems = [*_store(run), *_profile(run)]
    wants_ca = run.config.storage.ca_bundle or run.config.cluster.ca_bundle
    if wants_ca and not ca_pem:
        problems.append(f"the certificates of {wants_ca} were not read")
    if problems:
        raise ConfigError("\n".join(problems), where="cluster")


def _store(run: RunFile) -> list[str]:
    url = run.config.storage.url or ""
    if url.startswith(S3):
        return []
    return [
        f"storage.url is {url or 'null'}, a folder of this machine, which pods cannot reach: "
        "name a bucket, storage=s3 storage.url=s3://bucket/prefix"
    ]


def _profile(run: RunFile) -> list[str]:
    cluster = run.config.cluster
    found = []
    if cluster.engine == "jobset":
        found.append("cluster.engine=jobset is not available in this version: set job")
    for key, value in (("gpus", cluster.gpus), ("nodes", cluster.nodes)):
        if value > 1:
            found.append(f"cluster.{key}={value} is not available in this version: set 1")
    if cluster.cache.kind != "none" and not cluster.cache.name:
        what = "claim" if cluster.cache.kind == "pvc" else "path on the node"
        found.append(
            f"cluster.cache.kind={cluster.cache.kind} needs cluster.cache.name, the {what}"
        )
    if run.config.other.hf_login and not cluster.hf_secret:
        found.append("other.hf_login is true, but no Secret has a token: set cluster.hf_secret")
    return found
