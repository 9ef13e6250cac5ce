"""`ftctl gc`: remove what ended runs left, in the cluster and in the store."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from ftctl.commands.asking import Yes, confirm
from ftctl.commands.options import AsJson, ConfigDir, ConfigName
from ftctl.errors import UsageError

if TYPE_CHECKING:
    from ftctl.cluster.client import Cluster
    from ftctl.cluster.ended import EndedRun
    from ftctl.contract.spec import Config
    from ftctl.runs.leftovers import Leftover
    from ftctl.storage.base import Store

_UNITS = {"d": "days", "h": "hours", "min": "minutes", "s": "seconds"}
What = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN|KEY=VALUE]...",
        help="Runs to remove whole, with their results where --store is given; overrides.",
        show_default=False,
    ),
]


def gc(  # noqa: PLR0913  the options of a command are its interface
    what: What = None,
    in_store: Annotated[
        bool,
        typer.Option(
            "--store",
            help="In the store too: checkpoints, writes that broke off; of a named RUN everything.",
        ),
    ] = False,
    unreferenced: Annotated[
        bool,
        typer.Option("--unreferenced", help="With --store: data and models that no run uses."),
    ] = False,
    older_than: Annotated[
        str,
        typer.Option(
            "--older-than", metavar="AGE", help="Only what ended that long ago: 30min, 12h, 7d."
        ),
    ] = "1d",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be removed.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
    config_dir: ConfigDir = None,
    config_name: ConfigName = None,
) -> None:
    """Remove what finished and cancelled runs left behind.

    Without --store only the cluster is tidied: Jobs that have ended and what belongs to them.
    Results are never removed unless their run is named, and a run that somebody works on never.

    Example: ftctl gc --store --older-than 7d
    """
    from ftctl.commands.target import run_in
    from ftctl.config.compose import compose
    from ftctl.contract.status import now
    from ftctl.storage.open import open_store

    before = now() - _age(older_than)
    named = [text for text in what or [] if "=" not in text]
    config = compose(
        [text for text in what or [] if "=" in text], config_dir=config_dir, config_name=config_name
    )
    store = open_store(config.storage, default=config.paths.output_dir)
    if unreferenced and not in_store:
        raise UsageError("--unreferenced is about the store", hint="Say --store too.")
    ids = [run_in(store, name) for name in named]
    cluster = _cluster(config, needed=not in_store)
    ended = _in_cluster(cluster, config, ids, before) if cluster else []
    left = _in_store(store, ids, before, unreferenced=unreferenced) if in_store else []
    if not as_json:
        typer.echo(_plan(ended, left), err=not (ended or left))
    if (ended or left) and not dry_run:
        confirm("Remove all of this?", yes=yes)
        ended = _still_ended(cluster, config.cluster.namespace, ended)
        _remove(cluster, config.cluster.namespace, store, ended, left)
    if as_json:
        typer.echo(_told(ended, left))


def _cluster(config: Config, *, needed: bool) -> Cluster | None:
    """The cluster of the profile; None where this machine knows none and there is other work."""
    from ftctl.cluster.open import has_cluster, open_cluster

    if not needed and not has_cluster():
        return None
    return open_cluster(config.cluster.context)


def _in_cluster(
    cluster: Cluster, config: Config, ids: Sequence[str], before: datetime
) -> list[EndedRun]:
    from ftctl.cluster.ended import ended_run, ended_runs

    namespace = config.cluster.namespace
    if not ids:
        return ended_runs(cluster, namespace, before=before)
    found = [ended_run(cluster, namespace, run_id) for run_id in ids]
    return [run for run in found if run]


def _in_store(
    store: Store, ids: Sequence[str], before: datetime, *, unreferenced: bool
) -> list[Leftover]:
    from ftctl.runs.leftovers import find_leftovers, whole_run

    if ids:
        return [whole_run(store, run_id) for run_id in ids]
    return find_leftovers(store, before=before, unreferenced=unreferenced)


def _still_ended(
    cluster: Cluster | None, namespace: str, ended: Sequence[EndedRun]
) -> list[EndedRun]:
    """Without the runs that were resumed while somebody thought about the answer."""
    from ftctl.cluster.ended import has_ended

    still: list[EndedRun] = []
    if cluster is None:
        return still
    for run in ended:
        if has_ended(cluster, namespace, run.run_id):
            still.append(run)
        else:
            typer.echo(f"{run.run_id} goes on again, and stays", err=True)
    return still


def _remove(
    cluster: Cluster | None,
    namespace: str,
    store: Store,
    ended: Sequence[EndedRun],
    left: Sequence[Leftover],
) -> None:
    from ftctl.cluster.delete import delete_run
    from ftctl.runs.leftovers import remove
    from ftctl.storage.parallel import each

    if cluster is not None:
        for run in ended:
            delete_run(cluster, namespace, run.run_id)
    each(lambda item: remove(store, item), left, threads=8)


def _plan(ended: Sequence[EndedRun], left: Sequence[Leftover]) -> str:
    from ftctl.report.figures import size
    from ftctl.report.table import align

    if not (ended or left):
        return "nothing to remove"
    cells = [["where", "what", "of", "files", "size"]]
    cells += [["cluster", "objects", run.run_id, str(len(run.objects)), "-"] for run in ended]
    cells += [["store", item.kind, item.of, str(item.count), size(item.size)] for item in left]
    total = sum(item.size for item in left)
    return "\n".join([*align(cells, left=3), "", f"{size(total)} in the store"])


def _told(ended: Sequence[EndedRun], left: Sequence[Leftover]) -> str:
    from ftctl.commands.answers import GcAnswer, RemovedFiles, RemovedObjects

    return GcAnswer(
        cluster=[RemovedObjects(run_id=run.run_id, objects=list(run.objects)) for run in ended],
        store=[
            RemovedFiles(kind=item.kind, of=item.of, files=item.count, size=item.size)
            for item in left
        ],
    ).model_dump_json()


def _age(text: str) -> timedelta:
    match = re.fullmatch(r"(\d+)(d|h|min|s)|0", text)
    if match is None:
        raise UsageError(
            f"--older-than is {text!r}, which is no age", hint="Write 30min, 12h, 7d, or 0."
        )
    return timedelta(**{_UNITS[match[2]]: int(match[1])}) if match[1] else timedelta()
