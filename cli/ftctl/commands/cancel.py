"""`ftctl cancel`: stop a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import typer

from ftctl.commands.options import AsJson, ConfigDir, ConfigName, Overrides, Quiet
from ftctl.commands.target import Run, configured_run
from ftctl.errors import ClusterError

if TYPE_CHECKING:
    from ftctl.storage.base import Store


def cancel(
    run: Run,
    overrides: Overrides = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    config_dir: ConfigDir = None,
    config_name: ConfigName = None,
) -> None:
    """Stop a run; what it has done is kept.

    Its pods save a checkpoint and end; nothing is asked, as nothing is lost: `ftctl resume` goes
    on from there.

    Example: ftctl cancel support-bot-4f2a91c7d03e
    """
    from ftctl.local.pipeline import is_published

    store, run_id = configured_run(run, overrides, config_dir, config_name)
    if is_published(store, run_id):
        _answer(run_id, "succeeded", [], as_json=as_json)
        typer.echo(f"{run_id} is published; there is nothing to cancel", err=True)
        return
    deleted = stop_run(store, run_id, quiet=quiet)
    _answer(run_id, "cancelled", deleted, as_json=as_json)
    if not quiet:
        typer.echo(f"go on with it    ftctl resume {run_id}", err=True)


def stop_run(store: Store, run_id: str, *, quiet: bool) -> list[str]:
    """
    The tombstone goes first: whatever starts a pod again from then on, the pod ends at once.

    Raises:
        ClusterError: its Jobs cannot be deleted now; the tombstone stands.
    """
    from ftctl.cluster.delete import delete_workloads
    from ftctl.cluster.place import open_place
    from ftctl.contract.layout import RunLayout
    from ftctl.storage.index import mark_run
    from ftctl.storage.placement import read_placement
    from ftctl.storage.runs import read_run
    from ftctl.storage.tombstones import find_tombstone, write_tombstone

    layout = RunLayout(run_id)
    present = find_tombstone(store, layout)
    if present is None or present.kind != "cancelled":
        write_tombstone(store, layout, "cancelled", "by `ftctl cancel`")
    placement = read_placement(store, run_id)
    try:
        if placement is None:
            return []
        place = open_place(placement, run_id)
        return delete_workloads(
            place.cluster, place.namespace, place.workloads(), _Waiting(quiet).say
        )
    except ClusterError as error:
        raise ClusterError(
            f"its Jobs could not be deleted: {error.what}",
            where=error.where,
            hint="Its pods find in the store that it is cancelled, and end by themselves. "
            f"`ftctl cancel {run_id}` again removes the Jobs. {error.hint or ''}".strip(),
        ) from error
    finally:
        mark_run(store, read_run(store, run_id), "cancelled")


class _Waiting:
    """Says once how many pods are awaited, and again when it changes."""

    def __init__(self, quiet: bool) -> None:
        self._quiet, self._said = quiet, 0

    def say(self, pods: int) -> None:
        """Called at every look."""
        if pods and pods != self._said and not self._quiet:
            typer.echo(f"waiting for {pods} pod(s) to save what they have", err=True)
        self._said = pods


def _answer(
    run_id: str, state: Literal["cancelled", "succeeded"], deleted: list[str], *, as_json: bool
) -> None:
    if as_json:
        from ftctl.commands.answers import CancelAnswer

        told = CancelAnswer(run_id=run_id, state=state, deleted=deleted)
        typer.echo(told.model_dump_json())
    else:
        typer.echo(f"{run_id} {state}")
