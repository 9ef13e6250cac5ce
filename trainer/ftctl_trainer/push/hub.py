"""Files at a model hub, in one commit; the hub's own library sends what the hub lacks."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ftctl.errors import StorageError
from ftctl.storage.hub import client_error

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_OTHER_KINDS = {"dataset": "a data set", "space": "a space"}


def require_token(where: str) -> None:
    """Raise StorageError where there is no token for the hub."""
    from huggingface_hub import get_token

    if get_token() is None:
        raise StorageError(
            "there is no token for the model hub",
            where=where,
            hint="Export HF_TOKEN with a token that may write there; in a cluster name a Secret: "
            "cluster.hf_secret=NAME.",
        )


def hub_api() -> HfApi:
    """The hub's client, at the address that HF_ENDPOINT has now."""
    from huggingface_hub import HfApi

    return HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)


def push_to_hub(repository: str, files: Sequence[Path], *, private: bool, message: str) -> str:
    """
    Bring files into a model repository, which is made where there is none; return the commit.

    Large files that the hub has already, of this commit or of an attempt that broke off, are not
    sent again; without any change there is no new commit.

    Raises:
        StorageError: no access, another kind of repository, or the hub does not answer.
    """
    from huggingface_hub import CommitOperationAdd

    api = hub_api()
    with _hub_errors(repository):
        if not api.repo_exists(repository):
            for kind, words in _OTHER_KINDS.items():
                if api.repo_exists(repository, repo_type=kind):
                    raise _other_kind(repository, words)
            api.create_repo(repository, private=private, exist_ok=True)
        operations = [CommitOperationAdd(path.name, path) for path in files]
        return str(api.create_commit(repository, operations, commit_message=message).oid)


@contextmanager
def _hub_errors(repository: str) -> Iterator[None]:
    from huggingface_hub import errors

    where = f"publish.hub={repository}"
    try:
        yield
    except errors.HfHubHTTPError as error:
        raise _refused(error, where) from error
    except (errors.HFValidationError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise StorageError(f"the hub does not take this: {first}", where=where) from error
    except (client_error(), OSError) as error:
        raise StorageError(
            f"the model hub does not answer: {type(error).__name__}",
            where=where,
            hint="Check the network, HF_ENDPOINT and the proxy. A resumed run pushes what is "
            "missing.",
        ) from error


def _refused(error: Exception, where: str) -> StorageError:
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    said = getattr(error, "server_message", None) or f"it answered {status}"
    words = {
        401: (
            "the hub does not know this token, or there is no such owner",
            "Make a token that may write at the hub's settings, and set HF_TOKEN to it.",
        ),
        403: (
            f"the token may not write there ({said})",
            "Give it write access to this owner's repositories, or name another: publish.hub.",
        ),
        404: (
            "there is no such repository, or the token may not see it",
            "Check the owner in publish.hub, and what the token may do.",
        ),
    }
    what, hint = words.get(
        status or 0, (f"the hub refused: {said}", "A resumed run pushes what is missing.")
    )
    return StorageError(what, where=where, hint=hint)


def _other_kind(repository: str, words: str) -> StorageError:
    return StorageError(
        f"there is {words} of this name at the hub, and no model",
        where=f"publish.hub={repository}",
        hint="Choose another name for the model: publish.hub=OWNER/NAME.",
    )
