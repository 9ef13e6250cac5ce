"""The store works from this machine, and is one that pods can see."""

from __future__ import annotations

from ftctl.doctor.finding import Context, Finding, fail, ok
from ftctl.errors import FtctlError
from ftctl.storage.open import open_store
from ftctl.storage.probe import probe

CHECK = "storage"


def check(ctx: Context) -> list[Finding]:
    """Write and remove an object from here."""
    storage = ctx.config.storage
    if not (storage.url or "").startswith("s3://"):
        where = storage.url or ctx.config.paths.output_dir
        return [
            fail(
                CHECK,
                f"{where} is a folder of this machine, which pods do not see",
                "Set storage=s3 storage.url=s3://bucket/prefix.",
            )
        ]
    try:
        probe(open_store(storage))
    except FtctlError as error:
        return [fail(CHECK, f"from here: {error.what}", error.hint)]
    return [ok(CHECK, f"{storage.url} can be written and read from here")]
