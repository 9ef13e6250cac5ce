"""`ftctl compare`: runs side by side."""

from __future__ import annotations

from typing import Annotated

import typer

from ftctl.commands.options import AsJson, ConfigDir, ConfigName
from ftctl.errors import UsageError

Runs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RUN RUN [RUN|KEY=VALUE]...",
        help="Run ids, or enough of their beginning; then overrides that name the store.",
        show_default=False,
    ),
]


def compare(
    runs: Runs = None,
    as_json: AsJson = False,
    config_dir: ConfigDir = None,
    config_name: ConfigName = None,
) -> None:
    """Show how runs differ: settings, scores, proofs, losses.

    Example: ftctl compare support-bot-4f2a91c7d03e support-bot-77c0de15ab42
    """
    from ftctl.commands.target import configured_store, run_in
    from ftctl.report.collect import collect
    from ftctl.report.compare import compare as compared
    from ftctl.report.compare import comparison_json, comparison_text
    from ftctl.storage.parallel import each

    named = [text for text in runs or [] if "=" not in text]
    overrides = [text for text in runs or [] if "=" in text]
    if len(named) < 2:
        raise UsageError(
            f"{len(named) or 'no'} run to compare, where two or more are needed",
            hint="Name them by their ids; `ftctl list` shows them.",
        )
    store = configured_store(overrides, config_dir, config_name)
    ids = [run_in(store, name) for name in named]
    if len(set(ids)) < len(ids):
        raise UsageError(f"a run is named twice: {', '.join(ids)}", where=store.url)
    found = compared(each(lambda run_id: collect(store, run_id), ids))
    for problem in found.problems:
        typer.echo(f"warning: {problem}", err=True)
    if as_json:
        from ftctl.commands.answers import CompareAnswer

        typer.echo(CompareAnswer.model_validate(comparison_json(found)).model_dump_json())
    else:
        typer.echo(comparison_text(found))
