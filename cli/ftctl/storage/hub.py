"""The model hub: which commit a model is at, and its files on this machine."""

from __future__ import annotations

import sys
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

    with _hub_errors(name, revision):
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

    with _hub_errors(name, commit):
        return Path(snapshot_download(name, revision=commit, allow_patterns=list(MODEL_PATTERNS)))


@contextmanager
def _hub_errors(name: str, revision: str | None) -> Iterator[None]:
    from huggingface_hub import errors

    where = f"model.model_name={name}"
    unreachable: tuple[type[Exception], ...] = (errors.HfHubHTTPError, OSError)
    try:
        yield
    except errors.GatedRepoError as error:
        raise ConfigError(
            "this model is gated, and the token in use may not read it",
            where=where,
            hint="Accept its terms at the hub, then set HF_TOKEN to a token of that account.",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ConfigError(f"there is no revision {revision!r}", where=where) from error
    except errors.RepositoryNotFoundError as error:
        raise ConfigError(
            "the hub has no such model, or it is private",
            where=where,
            hint="Check the spelling; for a private model set HF_TOKEN.",
        ) from error
    except unreachable + _transport_errors() as error:
        raise StorageError(
            f"the model hub cannot be read: {type(error).__name__}",
            where=where,
            hint="Check the network (HF_ENDPOINT names a mirror), or set model.model_name to a "
            "local folder. A model in the hub's cache needs model.revision pinned to its commit.",
        ) from error


def _transport_errors() -> tuple[type[Exception], ...]:
    """Errors of the HTTP client under huggingface_hub, which changed it twice and wraps none."""
    clients = (sys.modules.get(module) for module in ("httpx2", "httpx", "requests"))
    bases = (
        getattr(client, "HTTPError", None) or getattr(client, "RequestException", None)
        for client in clients
        if client is not None
    )
    return tuple(base for base in bases if base is not None)
