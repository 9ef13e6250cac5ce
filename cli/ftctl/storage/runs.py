"""The stored form of a run's config.yaml."""

from __future__ import annotations

from collections.abc import Collection

from ftctl.contract.layout import RunLayout
from ftctl.contract.operational import StorageConfig
from ftctl.contract.runfile import RunFile
from ftctl.contract.status import now
from ftctl.contract.yamltext import yaml_text
from ftctl.errors import StorageError
from ftctl.storage.base import NotFoundError, Store


def to_yaml(run: RunFile, *, without: Collection[str] = ()) -> str:
    """The run as the YAML text a stage starts from, less some sections of its configuration."""
    return yaml_text(run.model_dump(mode="json", exclude={"config": set(without)}))


def from_yaml(text: str | bytes, *, where: str) -> RunFile:
    """
    Read a run back.

    Raises:
        StorageError: the text is not a run of a version this program knows.
    """
    import yaml
    from pydantic import ValidationError

    try:
        return RunFile.model_validate(yaml.safe_load(text))
    except (yaml.YAMLError, ValidationError, UnicodeDecodeError) as error:
        raise StorageError(
            f"this is not the config of a run: {str(error).splitlines()[0]}",
            where=where,
            hint="It was changed by hand, or written by a newer ftctl: update ftctl, or delete the "
            "file and start the same inputs again, which goes on with the same run.",
        ) from error


def read_run(store: Store, run_id: str) -> RunFile:
    """Read a run from the store. Raises NotFoundError when there is no such run."""
    key = RunLayout(run_id).config
    return from_yaml(store.read(key), where=f"{store.url}/{key}")


def located(run: RunFile, storage: StorageConfig, url: str) -> RunFile:
    """The run with its store as it is reached now; where it lives is outside its identity."""
    place = storage.model_copy(update={"url": url})
    return run.model_copy(update={"config": run.config.model_copy(update={"storage": place})})


def adopted(store: Store, run: RunFile) -> RunFile:
    """
    The run with the time at which the store first saw it; one that it has not seen is put there.

    For stages: unlike `register` it leaves what the store has, which may say more than a pod knows.

    Raises:
        StorageError: another run has the same 12 hex digits.
    """
    try:
        known = read_run(store, run.run_id)
    except NotFoundError:
        return register(store, run)
    _refuse_other(store, known, run)
    return run.model_copy(update={"created": known.created or run.created})


def register(store: Store, run: RunFile) -> RunFile:
    """
    Put a run into the store, or find it there; the time it was first seen is kept.

    Operational settings (storage, paths, cluster) of the newer file win: they are outside the
    identity, so the same run may be continued elsewhere.

    Raises:
        StorageError: another run has the same 12 hex digits.
    """
    key = RunLayout(run.run_id).config
    try:
        known = read_run(store, run.run_id)
    except NotFoundError:
        known = run.model_copy(update={"created": now()})
    _refuse_other(store, known, run)
    registered = run.model_copy(update={"created": known.created or now()})
    store.write(key, to_yaml(registered).encode())
    return registered


def _refuse_other(store: Store, known: RunFile, run: RunFile) -> None:
    if known.content_hash != run.content_hash:
        raise StorageError(
            f"another run of this id has hash {known.content_hash}, this one {run.content_hash}",
            where=f"{store.url}/{RunLayout(run.run_id).config}",
            hint="Give this one another name: name=...",
        )
