"""The part of `ftctl sweep` that plans a sweep, asks, records it, and has its runs done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from ftctl.commands.asking import confirm
from ftctl.commands.sweep_show import show
from ftctl.errors import InterruptedRunError

if TYPE_CHECKING:
    from ftctl.cluster.client import Cluster
    from ftctl.commands.sweep_plan import Planned, Wanted
    from ftctl.contract.runfile import RunFile
    from ftctl.contract.spec import Config
    from ftctl.contract.sweep import Axis, Sweep
    from ftctl.estimate.facts import Estimate
    from ftctl.runs.prepare import Prepared
    from ftctl.storage.base import Store

# Where the runs are done, and what starts them: this machine; a cluster, from this process; a
# cluster, from a pod there.
PlaceOfRuns = Literal["local", "here", "launcher"]


@dataclass(frozen=True)
class Asked:
    """What the command line says of how a sweep is done; nothing of it changes a result."""

    overrides: Sequence[str]
    config_dir: Path | None
    config_name: str | None
    owner: str | None
    place: PlaceOfRuns
    parallel: int
    dry_run: bool
    yes: bool
    as_json: bool
    quiet: bool


@dataclass(frozen=True)
class _Look:
    """What a cluster says before anything is created."""

    place: str | None = None
    objects: tuple[dict[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    estimate: Estimate | None = None
    lines: tuple[tuple[str, str], ...] = field(default=())


def begin(asked: Asked, wanted: Wanted, *, output: Path | None) -> None:
    """
    Do a sweep that overrides describe, or hand it to its launcher.

    Raises:
        FtctlError: a run is refused, or store or cluster refuse something; nothing was created.
    """
    store, cluster, planned = _plan(asked, wanted)
    look = _look(cluster, planned, asked) if cluster else _Look()
    published = _published(store, planned.sweep)
    if not (asked.as_json or asked.quiet):
        typer.echo(_plan_text(planned.sweep, look, asked, published), err=True)
    if asked.dry_run:
        _answer(planned.sweep, look, asked, published, "planned")
        return
    if cluster:
        confirm(f"Launch {planned.sweep.trials} runs?", yes=asked.yes)
    sweep = _record(store, planned, asked)
    if cluster and asked.place == "launcher":
        _hand_over(store, cluster, planned.runs[0], sweep, look)
        _answer(sweep, look, asked, published, "submitted")
        return
    _work(store, sweep, planned.runs[0].config, asked)
    show(store, sweep.sweep_id, output=output, as_json=asked.as_json, final=True)


def go_on(store: Store, sweep_id: str, asked: Asked) -> None:
    """Do what is left of a sweep that the store has, from this process."""
    from ftctl.commands.run import require_local
    from ftctl.config.compose import compose
    from ftctl.storage.sweeps import let_go_on, read_sweep

    config = compose(asked.overrides, config_dir=asked.config_dir, config_name=asked.config_name)
    if asked.place == "local":
        require_local()
        # A launcher's pod comes by here too, and must not take a cancellation back.
        let_go_on(store, sweep_id)
    _work(store, read_sweep(store, sweep_id), config, asked)


def _plan(asked: Asked, wanted: Wanted) -> tuple[Store, Cluster | None, Planned]:
    """The sweep that overrides describe, its store, and its cluster where it has one."""
    from ftctl.commands.run import require_local
    from ftctl.commands.sweep_plan import Planner, corner, plan_sweep
    from ftctl.config.axes import read_swept
    from ftctl.config.compose import compose
    from ftctl.storage.open import open_store

    config_dir, config_name = asked.config_dir, asked.config_name
    swept = read_swept(
        asked.overrides,
        searching=wanted.trials is not None,
        config_dir=config_dir,
        config_name=config_name,
    )
    first = [f"{key}={value}" for key, value in corner(swept.axes, 0).items()]
    config = compose([*swept.fixed, *first], config_dir=config_dir, config_name=config_name)
    store = open_store(config.storage, default=config.paths.output_dir)
    cluster = None
    if asked.place == "local":
        require_local()
    else:
        from ftctl.cluster.open import open_cluster

        cluster = open_cluster(config.cluster.context)
    planner = Planner(
        swept,
        config_dir=config_dir,
        config_name=config_name,
        resolve=lambda config: _resolved(config, store, cluster, config_dir),
    )
    return store, cluster, plan_sweep(swept, planner, wanted)


def _resolved(
    config: Config, store: Store, cluster: Cluster | None, config_dir: Path | None
) -> Prepared:
    """A child as `ftctl run`, or `ftctl submit`, makes it of its configuration."""
    from ftctl.commands.rendering import for_cluster, render_run
    from ftctl.commands.run import prepare_here

    if cluster is None:
        return prepare_here(config, store, config_dir=config_dir)
    return for_cluster(render_run(config, config_dir=config_dir, store=store), cluster).prepared


def _look(cluster: Cluster, planned: Planned, asked: Asked) -> _Look:
    """
    Ask the cluster whether it takes the first run and the launcher.

    Raises:
        ConfigError: the GPU has no room for the first run, or the last.
        ClusterError: the cluster would not take them.
    """
    from ftctl.cluster.apply import preflight
    from ftctl.commands.estimate import estimated
    from ftctl.estimate.fits import check_fits, check_host
    from ftctl.estimate.text import plan_lines
    from ftctl.manifests.launcher import launcher_objects
    from ftctl.manifests.run import run_objects
    from ftctl.runs.certificates import read_certificates
    from ftctl.runs.endpoints import refuse_loopback

    first, last = planned.runs[0], planned.runs[-1]
    dataset = planned.prepared[0].dataset
    ends = [first] if last is first else [first, last]
    estimates = [
        estimated(run.config, config_dir=asked.config_dir, dataset=dataset) for run in ends
    ]
    for estimate in estimates:
        check_fits(estimate, estimate.gpu_memory)
    refuse_loopback(first.config)
    ca_pem = read_certificates(first.config, Path.cwd())
    objects = run_objects(first, ca_pem=ca_pem)
    launcher = (
        launcher_objects(first, planned.sweep.sweep_id, parallel=asked.parallel, ca_pem=ca_pem)
        if asked.place == "launcher"
        else []
    )
    notes = [*preflight(cluster, [*launcher, *objects]), *check_host(estimates[0], first.config)]
    return _Look(
        place=f"{cluster.context or cluster.server}/{first.config.cluster.namespace}",
        objects=tuple(launcher),
        notes=tuple(notes),
        estimate=estimates[0],
        lines=tuple(plan_lines(estimates[0])),
    )


def _record(store: Store, planned: Planned, asked: Asked) -> Sweep:
    """Put inputs, runs and the sweep into the store, so that anybody can go on from there."""
    from ftctl.commands.submit import push_shown
    from ftctl.data.digest import push_dataset
    from ftctl.storage.adapters import push_adapter
    from ftctl.storage.parallel import each
    from ftctl.storage.sweeps import let_go_on, register_sweep

    for prepared in planned.prepared:
        if asked.place == "local":  # the base model is on this machine
            push_dataset(store, prepared.dataset)
            push_adapter(store, prepared.run.init_adapter)
        else:
            push_shown(store, prepared, quiet=asked.quiet or asked.as_json)
    if planned.sweep.search is None:
        each(lambda run: _register(store, run), planned.runs)
    let_go_on(store, planned.sweep.sweep_id)
    return register_sweep(store, planned.sweep)


def _register(store: Store, run: RunFile) -> None:
    from ftctl.local.pipeline import is_published
    from ftctl.storage.runs import register

    if not is_published(store, run.run_id):
        register(store, run)


def _hand_over(store: Store, cluster: Cluster, run: RunFile, sweep: Sweep, look: _Look) -> None:
    from ftctl.cluster.launcher import start_launcher
    from ftctl.cluster.place import Place
    from ftctl.storage.sweeps import write_launcher

    namespace = run.config.cluster.namespace
    write_launcher(store, sweep.sweep_id, Place(cluster, namespace, run.run_id).placement())
    start_launcher(cluster, namespace, sweep.sweep_id, look.objects)


def _work(store: Store, sweep: Sweep, config: Config, asked: Asked) -> None:
    """
    Have the runs done, and write down what came of them.

    Raises:
        InterruptedRunError: Ctrl-C; the same sweep again goes on.
    """
    from ftctl.commands.sweep_children import conclude

    if asked.place == "local":
        from ftctl.commands.sweep_here import run_here

        run_here(store, sweep, config.storage, quiet=asked.quiet)
    else:
        from ftctl.cluster.open import open_cluster
        from ftctl.commands.sweep_launch import Launching

        say = _silent if asked.quiet else _say
        cluster = open_cluster(config.cluster.context)
        launching = Launching(
            store, cluster, sweep, parallel=asked.parallel, owner=asked.owner, say=say
        )
        try:
            launching.to_the_end()
        except KeyboardInterrupt:
            raise InterruptedRunError(
                "no more runs are started; those that were go on in the cluster",
                where=sweep.sweep_id,
                hint="The same command goes on with the others; "
                f"`ftctl sweep {sweep.sweep_id} --cancel` stops all.",
            ) from None
    conclude(store, sweep.sweep_id)


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _silent(text: str) -> None:
    """What is not to be said."""


def _published(store: Store, sweep: Sweep) -> int:
    from ftctl.local.pipeline import is_published
    from ftctl.storage.parallel import each

    ids = [child.run_id for child in sweep.children]
    return sum(each(lambda run_id: is_published(store, run_id), ids))


def _plan_text(sweep: Sweep, look: _Look, asked: Asked, published: int) -> str:
    from ftctl.cluster.kinds import name_of
    from ftctl.report.figures import NOTHING
    from ftctl.report.sweep import MEASURES

    runs = f"{sweep.trials}" + (f", {published} of them published already" if published else "")
    at_once = "one after the other, here" if asked.place == "local" else f"{asked.parallel} at once"
    price = look.estimate.price if look.estimate else None
    pairs = [
        ("sweep", sweep.sweep_id),
        ("runs", f"{runs}; {at_once}"),
        *(("", f"{axis.key}  {_values(axis)}") for axis in sweep.axes),
        ("best by", MEASURES[sweep.objective]),
        *([("cluster", look.place)] if look.place else []),
        *((name, f"{value}, a run") for name, value in look.lines if value != NOTHING),
        *([("in all", f"about {price * (sweep.trials - published):.2f}")] if price else []),
        *([("creates", ", ".join(map(name_of, look.objects)))] if look.objects else []),
        *(("note", note) for note in look.notes),
    ]
    return "\n".join(f"{name:<11}{value}" for name, value in pairs)


def _values(axis: Axis) -> str:
    if not axis.is_range:
        return ", ".join(axis.values)
    return f"{axis.low:g} to {axis.high:g}" + (", by its logarithm" if axis.log else "")


def _answer(
    sweep: Sweep,
    look: _Look,
    asked: Asked,
    published: int,
    state: Literal["planned", "submitted"],
) -> None:
    """Print the plan as JSON, or the sweep's id, and after a submission what may come next."""
    if asked.as_json:
        from ftctl.cluster.kinds import name_of
        from ftctl.commands.sweep_answers import SweepPlanAnswer, SweptRun

        told = SweepPlanAnswer(
            sweep_id=sweep.sweep_id,
            state=state,
            place=look.place,
            by=sweep.objective,
            trials=sweep.trials,
            parallel=1 if asked.place == "local" else asked.parallel,
            published=published,
            alias=sweep.alias,
            runs=[SweptRun(run_id=one.run_id, values=one.values) for one in sweep.children],
            objects=[name_of(body) for body in look.objects],
            notes=list(look.notes),
            estimate=look.estimate,
        )
        typer.echo(told.model_dump_json())
        return
    typer.echo(sweep.sweep_id)
    if state == "submitted":
        typer.echo(f"look at it   ftctl sweep {sweep.sweep_id}", err=True)
        typer.echo(f"stop it      ftctl sweep {sweep.sweep_id} --cancel", err=True)
        typer.echo(f"then         ftctl download {sweep.alias}", err=True)
