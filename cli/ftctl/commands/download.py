"""`ftctl download`: a run's files on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ftctl.commands.options import AsJson, ConfigDir, ConfigName, Overrides, Quiet
from ftctl.commands.target import Run, configured_run
from ftctl.errors import UsageError

if TYPE_CHECKING:
    from ftctl.runs.download import Fetched


def download(  # noqa: PLR0913  the options of a command are its interface
    run: Run,
    overrides: Overrides = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Folder to write to; it is made. Default: a folder named as the run.",
            show_default=False,
        ),
    ] = None,
    what: Annotated[
        str, typer.Option("--what", metavar="WHAT", help="gguf, adapter, merged, report, or all.")
    ] = "gguf",
    partial: Annotated[
        bool,
        typer.Option("--partial", help="Take what is complete of a run that is not published."),
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    config_dir: ConfigDir = None,
    config_name: ConfigName = None,
) -> None:
    """Fetch what a run has published, each file checked.

    Every file is compared with the checksum that the run's manifest has. Files that are there
    already are left alone, and a download that broke off goes on where it was.

    Example: ftctl download support-bot-4f2a91c7d03e -o models
    """
    from ftctl.commands.progress import bytes_bar
    from ftctl.contract.layout import RunLayout
    from ftctl.runs.download import fetch
    from ftctl.runs.published import WHATS, partial_files, published_files

    asked = next((known for known in WHATS if known == what), None)
    if asked is None:
        raise UsageError(
            f"--what is {what!r}; allowed: {', '.join(WHATS)}", hint="gguf is the default."
        )
    store, run_id = configured_run(run, overrides, config_dir, config_name)
    published = not partial or store.stat(RunLayout(run_id).success) is not None
    files = (published_files if published else partial_files)(store, run_id, asked)
    folder = output or Path(run_id)
    total = sum(file.size for file in files)
    with bytes_bar(run_id, total, quiet=quiet) as progress:
        fetched = fetch(store, files, folder, progress=progress)
    if as_json:
        typer.echo(_summary(run_id, folder, fetched, published=published))
        return
    for item in fetched:
        typer.echo(str(item.path))
    if not quiet:
        typer.echo(_told(fetched, published=published), err=True)


def _told(fetched: list[Fetched], *, published: bool) -> str:
    from ftctl.report.figures import size

    moved = [item.file.size for item in fetched if item.moved]
    text = f"{len(moved)} files fetched, {size(sum(moved))}"
    if len(moved) < len(fetched):
        text += f"; {len(fetched) - len(moved)} were there already"
    return text if published else f"{text}; the run is not published: nothing of it is proven"


def _summary(run_id: str, folder: Path, fetched: list[Fetched], *, published: bool) -> str:
    from ftctl.commands.answers import DownloadAnswer, DownloadedFile

    files = [
        DownloadedFile(
            file=str(item.path),
            size=item.file.size,
            sha256=item.file.sha256,
            fetched=item.moved,
        )
        for item in fetched
    ]
    return DownloadAnswer(
        run_id=run_id, published=published, folder=str(folder), files=files
    ).model_dump_json()
