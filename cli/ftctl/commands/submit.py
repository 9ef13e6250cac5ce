"""`ftctl submit`: the whole pipeline in a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from ftctl.commands.asking import Yes, confirm
from ftctl.commands.options import AsJson, ConfigDir, ConfigName, Overrides, Quiet

if TYPE_CHECKING:
    from ftctl.cluster.place import Place
    from ftctl.commands.plan import Plan
    from ftctl.commands.rendering import Rendering
    from ftctl.contract.spec import Config
    from ftctl.estimate.facts import Estimate
    from ftctl.runs.prepare import Prepared
    from ftctl.storage.base import Store

Owner = Annotated[
    str | None,
    typer.Option(
        "--owner",
        metavar="NAME",
        help="ConfigMap of the namespace; when it is deleted, so is what is created here.",
        show_default=False,
    ),
]
Wait = Annotated[
    bool,
    typer.Option("--wait", "-w", help="Show the run until it ends, and exit with its exit code."),
]


def submit(  # noqa: PLR0913  the options of a command are its interface
    overrides: Overrides = None,
    new: Annotated[
        bool, typer.Option("--new", help="Make another run of the same inputs.")
    ] = False,
    wait: Wait = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, show the plan, create nothing.")
    ] = False,
    unchecked: Annotated[
        bool,
        typer.Option("--unchecked", help="Create it though the cluster would not start it now."),
    ] = False,
    owner: Owner = None,
    yes: Yes = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    config_dir: ConfigDir = None,
    config_name: ConfigName = None,
) -> None:
    """Fine-tune, export and verify in a Kubernetes cluster.

    The same inputs again are the same run: it is neither repeated nor started twice. After an
    out-of-memory kill, submit it with more memory: it goes on from its checkpoint.

    Example: ftctl submit experiment=quickstart storage=s3 cluster.namespace=ml
    """
    from ftctl.cluster.launch import launch
    from ftctl.cluster.owner import owned_by
    from ftctl.commands.estimate import estimated
    from ftctl.commands.plan import needs_of
    from ftctl.commands.rendering import for_cluster, render_run
    from ftctl.commands.standing import is_under_way
    from ftctl.config.compose import compose
    from ftctl.storage.open import open_store
    from ftctl.storage.runs import register

    config = compose(overrides or [], config_dir=config_dir, config_name=config_name)
    store = open_store(config.storage, default=config.paths.output_dir)
    rendering = render_run(config, config_dir=config_dir, new=new, store=store)
    place = _place(config, store, rendering.prepared.run.run_id)
    rendering = for_cluster(rendering, place.cluster)
    run, objects = rendering.prepared.run, rendering.objects
    if is_under_way(store, place, run, objects, as_json=as_json, dry_run=dry_run):
        end(store, place, wait=wait and not dry_run, as_json=as_json, quiet=quiet)
        return
    if owner:
        owned = owned_by(place.cluster, place.namespace, owner, objects)
        rendering = replace(rendering, objects=owned)
    estimate = estimated(config, config_dir=config_dir, dataset=rendering.prepared.dataset)
    plan = _plan(rendering, place, estimate, unchecked=unchecked)
    if not (as_json or quiet):
        typer.echo(plan.text(), err=True)
    if dry_run:
        answer(plan, "planned", as_json=as_json)
        return
    confirm(f"Submit {run.run_id}?", yes=yes)
    push_shown(store, rendering.prepared, quiet=quiet)
    place = replace(place, needs=needs_of(estimate))
    launch(place, store, register(store, run), rendering.objects)
    if not wait:
        answer(plan, "submitted", as_json=as_json)
        return
    end(store, place, wait=True, as_json=as_json, quiet=quiet)


def _place(config: Config, store: Store, run_id: str) -> Place:
    from ftctl.cluster.open import open_cluster
    from ftctl.cluster.place import Place
    from ftctl.storage.placement import read_placement

    cluster, known = open_cluster(config.cluster.context), read_placement(store, run_id)
    return Place(cluster, config.cluster.namespace, run_id, known.needs if known else {})


def _plan(rendering: Rendering, place: Place, estimate: Estimate, *, unchecked: bool) -> Plan:
    """
    What is about to happen.

    Raises:
        ConfigError: the GPU has no room for the run.
        ClusterError: the cluster would not take it.
    """
    from ftctl.cluster.apply import preflight
    from ftctl.commands.plan import make_plan
    from ftctl.estimate.fits import check_fits, check_host
    from ftctl.runs.endpoints import refuse_loopback

    run, objects = rendering.prepared.run, rendering.objects
    if unchecked:
        return make_plan(run, place, objects, estimate, ["nothing was checked in the cluster"])
    check_fits(estimate, estimate.gpu_memory)
    refuse_loopback(run.config)
    notes = [*preflight(place.cluster, objects), *check_host(estimate, run.config)]
    return make_plan(run, place, objects, estimate, notes)


def push_shown(store: Store, prepared: Prepared, *, quiet: bool) -> None:
    """Put what the pods of a run read into the store. Raises StorageError."""
    from ftctl.commands.progress import bytes_bar
    from ftctl.data.digest import push_dataset
    from ftctl.storage.adapters import push_adapter
    from ftctl.storage.models import has_model, model_bytes, push_model

    push_dataset(store, prepared.dataset)
    push_adapter(store, prepared.run.init_adapter)
    model = prepared.run.model
    if quiet or has_model(store, model):
        push_model(store, model)
        return
    with bytes_bar(f"uploading {model.name}", model_bytes(model)) as progress:
        push_model(store, model, progress)


def answer(plan: Plan, state: str, *, as_json: bool) -> None:
    """Print the plan as JSON, or the run's id, and after a submission what may come next."""
    if as_json:
        from ftctl.commands.answers import PlanAnswer

        told = PlanAnswer.model_validate({**plan.values(), "state": state})
        typer.echo(told.model_dump_json(exclude_unset=True))
        return
    typer.echo(plan.run_id)
    if state == "submitted":
        typer.echo("\n".join(next_commands(plan.run_id)), err=True)


def next_commands(run_id: str) -> Sequence[str]:
    """What somebody may want to do with a run that goes on."""
    return (
        f"follow it    ftctl logs -f {run_id}",
        f"look at it   ftctl status {run_id}",
        f"stop it      ftctl cancel {run_id}",
    )


def end(store: Store, place: Place, *, wait: bool, as_json: bool, quiet: bool) -> None:
    """Wait for the run where that was asked for, and print its outcome; else only its id."""
    from ftctl.commands.attach import attach
    from ftctl.commands.run import print_outcome
    from ftctl.local.pipeline import is_published
    from ftctl.storage.pushed import is_finished

    if wait and not is_finished(store, place.run_id):
        attach(store, place, quiet=quiet)
    if is_published(store, place.run_id):
        print_outcome(store, place.run_id, None, as_json=as_json)
    elif as_json:
        from ftctl.commands.answers import RunningAnswer

        told = RunningAnswer(run_id=place.run_id, place=str(place), state="running")
        typer.echo(told.model_dump_json())
    else:
        typer.echo(place.run_id)
        typer.echo("\n".join(next_commands(place.run_id)), err=True)
