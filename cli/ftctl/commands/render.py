"""`ftctl render`: a run as plain Kubernetes YAML."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ftctl.commands.options import AsJson, ConfigDir, ConfigName, Overrides

if TYPE_CHECKING:
    from ftctl.contract.runfile import RunFile
    from ftctl.contract.spec import Config


def render(
    overrides: Overrides = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Write DIR/RUN-ID/, a file an object and a kustomization, for git.",
            show_default=False,
        ),
    ] = None,
    push: Annotated[
        bool,
        typer.Option("--push", help="Upload the data set, and a local base model, to the store."),
    ] = False,
    new: Annotated[
        bool, typer.Option("--new", help="Make another run of the same inputs.")
    ] = False,
    as_json: AsJson = False,
    config_dir: ConfigDir = None,
    config_name: ConfigName = None,
) -> None:
    """Print a run as Kubernetes YAML; asks no cluster.

    What is printed is what `ftctl submit` creates. Written for git, Jobs stay when they are done,
    so that a sync starts nothing again.

    Example: ftctl render experiment=smoke cluster=cpu storage.url=s3://bucket/prefix
    """
    from ftctl.commands.rendering import push_inputs, render_run
    from ftctl.config.compose import compose

    config = compose(overrides or [], config_dir=config_dir, config_name=config_name)
    if output:
        config = _kept(config)
    rendering = render_run(config, config_dir=config_dir, new=new)
    run = rendering.prepared.run
    _advise(config, run, pushed=push)
    if push:
        push_inputs(rendering)
    if output:
        _write(output, run, rendering.objects, as_json=as_json)
    elif as_json:
        from ftctl.commands.answers import ObjectsAnswer

        told = ObjectsAnswer(apiVersion="v1", kind="List", items=rendering.objects)
        typer.echo(told.model_dump_json())
    else:
        from ftctl.contract.yamltext import yaml_documents

        typer.echo(yaml_documents(rendering.objects), nl=False)


def _kept(config: Config) -> Config:
    """A Job that removes itself would be created again from git."""
    return config.model_copy(update={"cluster": config.cluster.model_copy(update={"ttl": None})})


def _advise(config: Config, run: RunFile, *, pushed: bool) -> None:
    """Say on stderr what the objects do not hold."""
    if run.model.kind == "hub" and config.model.revision != run.model.revision:
        typer.echo(
            f"model.revision={run.model.revision} pins the model as it is rendered here; "
            "with it, rendering needs no network and gives the same run tomorrow.",
            err=True,
        )
    if not pushed:
        what = "the data set" if run.model.kind == "hub" else "the data set and the base model"
        typer.echo(
            f"Pods read {what} from {run.config.storage.url}; "
            "`ftctl render --push` uploads what is not there.",
            err=True,
        )
        return
    pins = [f"dataset.train=sha256:{run.data.digest}", "dataset.eval=null"]
    if run.model.kind != "hub":
        pins.append(f"model.revision={run.model.revision}")
    typer.echo(
        f"The same run, from a machine that has none of its files: {' '.join(pins)}", err=True
    )


def _write(output: Path, run: RunFile, objects: list[dict[str, Any]], *, as_json: bool) -> None:
    from ftctl.runs.gitfolder import write_run

    files = write_run(output, run.run_id, objects)
    if as_json:
        from ftctl.commands.answers import FilesAnswer

        told = FilesAnswer(run_id=run.run_id, files=[str(path) for path in files])
        typer.echo(told.model_dump_json())
    else:
        typer.echo("\n".join(str(path) for path in files))
