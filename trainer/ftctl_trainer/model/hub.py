"""Downloads from the model hub; its failures become ours at this edge."""

from __future__ import annotations

import os
from pathlib import Path

from ftctl.errors import ConfigError, StorageError

_WANTED = ["*.safetensors", "*.json", "*.model", "*.txt", "*.jinja", "*.py"]
_TRIES = 3


def download_model(name: str, revision: str) -> Path:
    """
    Download a model's files at a commit; files that are in the hub's cache are not fetched again.

    Raises:
        ConfigError: no such model or commit, or it is gated and the token does not open it.
        StorageError: the hub does not answer.
    """
    from huggingface_hub import errors, snapshot_download

    where = f"model.model_name={name}"
    # HTTPError of whichever client this version of the hub's library uses.
    client_error: type[Exception] = errors.HfHubHTTPError.__bases__[0]
    for left in reversed(range(_TRIES)):
        try:
            folder = snapshot_download(
                name,
                revision=revision or None,
                allow_patterns=_WANTED,
                token=os.environ.get("HF_TOKEN") or None,
            )
            return Path(folder)
        except errors.GatedRepoError as error:
            raise ConfigError(
                "the model is gated",
                where=where,
                hint="Accept its terms on its page, and give a token that may read it (HF_TOKEN).",
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
        except (errors.LocalEntryNotFoundError, client_error, OSError) as error:
            if left == 0:
                raise StorageError(
                    f"the model hub does not answer: {type(error).__name__}",
                    where=where,
                    hint="Check the network, HF_ENDPOINT and the proxy; the run can be retried.",
                ) from error
    raise AssertionError("the loop returns or raises")
