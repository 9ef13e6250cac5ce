"""`ftctl doctor`: is everything there that a run needs?"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from ftctl.commands.options import AsJson, ConfigDir, ConfigName, Overrides
from ftctl.errors import ClusterError

if TYPE_CHECKING:
    from ftctl.cluster.client import Cluster
    from ftctl.doctor.finding import Finding

_INDENT = " " * 6


def doctor(
    overrides: Overrides = None,
    no_pod: Annotated[
        bool, typer.Option("--no-pod", help="Create nothing: do not try a pod in the cluster.")
    ] = False,
    timeout: Annotated[
        int,
        typer.Option("--timeout", min=1, metavar="S", help="Seconds for the pod and its images."),
    ] = 300,
    as_json: AsJson = False,
    config_dir: ConfigDir = None,
    config_name: ConfigName = None,
) -> None:
    """Check that cluster and store are ready for a run.

    It looks at the connection, the namespace, permissions, GPUs, queue, Secrets, the store from
    here, the model, and with a short pod at the images and the store from inside; each finding
    that is not ok says what to do. Exit code 6 where a run would fail.

    Example: ftctl doctor cluster=h100 storage=s3 storage.url=s3://ml/runs
    """
    from ftctl.config.compose import compose
    from ftctl.doctor.finding import Context
    from ftctl.doctor.run import findings

    config = compose(overrides or [], config_dir=config_dir, config_name=config_name)
    ctx = Context(config, _connection(config.cluster.context), os.environ, timeout_s=float(timeout))
    found = []
    for finding in findings(ctx, with_pod=not no_pod):
        found.append(finding)
        if not as_json:
            typer.echo(_line(finding))
    failed = [finding for finding in found if finding.status == "fail"]
    if as_json:
        from ftctl.commands.answers import DoctorAnswer

        typer.echo(DoctorAnswer(ok=not failed, findings=found).model_dump_json())
    if failed:
        raise ClusterError(
            f"{len(failed)} of {len(found)} findings would make a run fail: "
            f"{', '.join(dict.fromkeys(finding.check for finding in failed))}",
            where=config.cluster.namespace,
        )


def _connection(context: str | None) -> Cluster | ClusterError:
    """The cluster, or why there is none, which is a finding and ends nothing."""
    from ftctl.cluster.open import open_cluster

    try:
        return open_cluster(context)
    except ClusterError as error:
        return error


def _line(finding: Finding) -> str:
    line = f"{finding.status:<4}  {finding.check}: {finding.what}"
    return f"{line}\n{_INDENT}{finding.fix}" if finding.fix else line
