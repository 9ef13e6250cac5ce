"""The model hub: which commit a model is at, and its files on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ftctl.contract.modelfiles import MODEL_PATTERNS
from ftctl.errors import ConfigError, StorageError


def hub_commit(name: str, revision: str | None) -> str:
    """
    Look up the commit that a branch, a tag or the default branch is at now.

    Raises:
        ConfigError: no such model or revision, or no access to it.
        StorageError: the hub cannot be reached.
    """
    from huggingface_hub import HfApi

    with hub_errors(name, revision):
        commit = HfApi().model_info(name, revision=revision).sha
    if commit is None:
        raise StorageError("the model hub named no commit", where=name)
    return commit


def hub_snapshot(name: str, commit: str) -> Path:
    """
    Download a model's files, or find them in the hub's cache; partial downloads are continued.

    Raises: as `hub_commit`.
    """
    from huggingface_hub import snapshot_download

    with hub_errors(name, commit):
        return Path(snapshot_download(name, revision=commit, allow_patterns=list(MODEL_PATTERNS)))


def hub_file(name: str, revision: str | None, file: str) -> Path:
    """
    Fetch one small file of a model, or find it in the hub's cache.

    Raises: as `hub_commit`.
    """
    from huggingface_hub import hf_hub_download

    cached = cached_hub_file(name, revision, file)
    if cached is not None:
        return cached
    # One request that fails at once where there is no network; a download tries for half a minute.
    commit = hub_commit(name, revision)
    with hub_errors(name, revision):
        return Path(hf_hub_download(name, file, revision=commit))


def cached_hub_snapshot(name: str, commit: str) -> Path | None:
    """A model's folder in the hub's cache, if all of it is there, without asking the hub."""
    from huggingface_hub import errors, snapshot_download

    try:
        found = snapshot_download(
            name, revision=commit, allow_patterns=list(MODEL_PATTERNS), local_files_only=True
        )
    except (errors.LocalEntryNotFoundError, errors.HFValidationError):
        return None
    return Path(found)


def cached_hub_file(name: str, revision: str | None, file: str) -> Path | None:
    """A file of a model that is in the hub's cache, without asking the hub; else None."""
    from huggingface_hub import errors, try_to_load_from_cache

    try:
        found = try_to_load_from_cache(name, file, revision=revision)
    except errors.HFValidationError:
        return None
    return Path(found) if isinstance(found, str) else None


def client_error() -> type[Exception]:
    """HTTPError of whichever client this version of the hub's library uses; it wraps none."""
    from huggingface_hub import errors

    found: type[Exception] = errors.HfHubHTTPError.__bases__[0]
    return found


@contextmanager
def hub_errors(name: str, revision: str | None) -> Iterator[None]:
    """Turn what the hub's library raises about a model into ConfigError and StorageError."""
    from huggingface_hub import errors

    where = f"model.model_name={name}"
    unreachable = (errors.LocalEntryNotFoundError, client_error(), OSError)
    try:
        yield
    except errors.GatedRepoError as error:
        raise ConfigError(
            "the model is gated",
            where=where,
            hint="Accept its terms on its page, and set HF_TOKEN to a token that may read it.",
        ) from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise ConfigError(
            "there is no such model at the hub, or it is private",
            where=where,
            hint="Check the name; a private model needs a token (HF_TOKEN).",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ConfigError(
            f"the model has no revision {revision!r}",
            where=where,
            hint="Set model.revision to a commit that its page shows.",
        ) from error
    except unreachable as error:
        raise StorageError(
            f"the model hub does not answer: {type(error).__name__}",
            where=where,
            hint="Check the network, HF_ENDPOINT and the proxy, or set model.model_name to a "
            "local folder. A model in the hub's cache needs model.revision pinned to its commit.",
        ) from error
