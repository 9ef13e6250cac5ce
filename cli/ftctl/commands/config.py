"""`ftctl config`: show, check and explain the configuration."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ftctl.commands.options import AsJson, ConfigDir, ConfigName, Overrides

if TYPE_CHECKING:
    from ftctl.contract.spec import Config

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Show, check and explain the configuration.",
)


@app.command()
def show(
    overrides: Overrides = None,
    config_dir: ConfigDir = None,
    config_name: ConfigName = None,
    package: Annotated[
        str | None,
        typer.Option("--package", "-p", metavar="KEY", help="Only this section or key."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the resolved configuration; it holds no secret.

    Example: ftctl config show experiment=quickstart -p training
    """
    from ftctl.config.compose import compose
    from ftctl.config.explain import part

    config = compose(overrides or (), config_dir=config_dir, config_name=config_name)
    values: Any = config.model_dump(mode="json")
    if package:
        values = part(values, package)
    typer.echo(json.dumps(values, ensure_ascii=False) if as_json else _yaml(values), nl=as_json)


@app.command()
def validate(
    overrides: Overrides = None,
    config_dir: ConfigDir = None,
    config_name: ConfigName = None,
) -> None:
    """Check a configuration; exit code 3 if a run would refuse it.

    Example: ftctl config validate --config-dir conf --config-name old
    """
    from ftctl.config.compose import compose
    from ftctl.config.validate import refuse_unavailable

    config = compose(overrides or (), config_dir=config_dir, config_name=config_name)
    refuse_unavailable(config)
    typer.echo(f"valid: {_summary(config)}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of a whole configuration, for editors.

    Example: ftctl config schema > ftctl.schema.json
    """
    from ftctl.config.schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))


@app.command()
def explain(
    key: Annotated[str, typer.Argument(metavar="KEY", help="A key, section or group.")],
    overrides: Overrides = None,
    config_dir: ConfigDir = None,
    config_name: ConfigName = None,
    as_json: AsJson = False,
) -> None:
    """Explain a key: meaning, limits, default, who sets it.

    Example: ftctl config explain training.learning_rate
    """
    from ftctl.config.composition import Composition
    from ftctl.config.explain import explanation
    from ftctl.config.tree import open_tree

    composition = Composition(open_tree(config_dir, config_name), overrides or ())
    found = explanation(key, composition)
    if as_json:
        from ftctl.commands.answers import ExplainAnswer

        told = ExplainAnswer.model_validate(found.as_dict())
        typer.echo(told.model_dump_json(by_alias=True, exclude_unset=True))
    else:
        typer.echo(str(found))


@app.command()
def groups(
    config_dir: ConfigDir = None,
    as_json: AsJson = False,
) -> None:
    """List every group and its choices, yours included.

    Example: ftctl config groups --config-dir conf
    """
    from ftctl.config.explain import described_groups
    from ftctl.config.tree import open_tree

    found = described_groups(open_tree(config_dir))
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    width = max(len(choice) for choices in found.values() for choice in choices)
    for group, choices in found.items():
        typer.echo(group)
        for choice, text in choices.items():
            typer.echo(f"  {choice:{width}}  {text}".rstrip())


def _yaml(values: Any) -> str:
    import yaml

    text: str = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)
    return text.removesuffix("...\n")


def _summary(config: Config) -> str:
    model, training = config.model, config.training
    length = (
        f"{training.max_steps} steps"
        if training.max_steps > 0
        else f"{training.num_train_epochs:g} epochs"
    )
    return (
        f"{training.method} of {model.model_name}, rank {model.lora_r}, {length}, "
        f"GGUF {', '.join(model.qtypes)}, store {config.storage.url or config.paths.output_dir}"
    )
