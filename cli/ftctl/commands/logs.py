"""`ftctl logs`: what the pods of a run print."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ftctl.commands.options import AsJson, ConfigDir, ConfigName, Overrides
from ftctl.commands.target import Run, configured_run
from ftctl.errors import UsageError

if TYPE_CHECKING:
    from ftctl.cluster.logs import PodLine
    from ftctl.cluster.place import Place
    from ftctl.storage.base import Store


def logs(
    run: Run,
    overrides: Overrides = None,
    follow: Annotated[
        bool,
        typer.Option("--follow", "-f", help="Go on until the run ends; Ctrl-C leaves it alone."),
    ] = False,
    stage: Annotated[
        Literal["train", "convert"] | None,
        typer.Option("--stage", "-s", help="Only of this stage.", show_default=False),
    ] = None,
    as_json: AsJson = False,
    config_dir: ConfigDir = None,
    config_name: ConfigName = None,
) -> None:
    """Show what the pods of a run print.

    Every attempt is shown, in order. Of pods that are gone, what was kept of those that failed.

    Example: ftctl logs -f support-bot-4f2a91c7d03e
    """
    from ftctl.cluster.place import open_place
    from ftctl.storage.placement import read_placement

    store, run_id = configured_run(run, overrides, config_dir, config_name)
    placement = read_placement(store, run_id)
    if placement is None:
        raise UsageError(
            "this run is in no cluster",
            where=run_id,
            hint=f"`ftctl status {run_id}` and `ftctl report {run_id}` show what the store has.",
        )
    place = open_place(placement, run_id)
    shown = False
    for line in _lines(store, place, stage, follow=follow):
        shown = True
        _print(line, as_json=as_json)
    if not shown:
        typer.echo(f"no pod of {run_id} has printed anything that is still there", err=True)


def _lines(store: Store, place: Place, stage: str | None, *, follow: bool) -> Iterator[PodLine]:
    from ftctl.cluster.logs import follow_logs, read_logs
    from ftctl.cluster.place import look_and_keep
    from ftctl.config.secret import redact

    yield from _kept(store, place, stage)
    if not follow:
        yield from read_logs(place.cluster, place.namespace, place.run_id, stage)
        return
    found = follow_logs(
        place.cluster,
        place.namespace,
        place.run_id,
        stage,
        ended=lambda: look_and_keep(place, store, redact).is_over,
    )
    yield from (line for line in found if line)


def _print(line: PodLine, *, as_json: bool) -> None:
    from ftctl.report.loglines import as_values, readable

    if as_json:
        from ftctl.commands.answers import StageLineAnswer, TextLineAnswer

        head = {"source": line.source, "pod": line.pod, "container": line.container}
        values = as_values(line.text)
        model = StageLineAnswer if "level" in values else TextLineAnswer
        typer.echo(model.model_validate({**head, **values}).model_dump_json(exclude_none=True))
    else:
        typer.echo(f"{line.source:<9}{readable(line.text)}")


def _kept(store: Store, place: Place, stage: str | None) -> Iterator[PodLine]:
    """What the store has of pods that failed and are gone, as after a resume."""
    from ftctl.cluster.logs import PodLine, pod_names
    from ftctl.storage.placement import read_failures

    there = pod_names(place.cluster, place.namespace, place.run_id)
    for record in read_failures(store, place.run_id):
        if stage in (None, record.stage) and record.pod not in there:
            for text in record.log:
                yield PodLine(record.stage, record.stage, record.pod or "", record.stage, text)
