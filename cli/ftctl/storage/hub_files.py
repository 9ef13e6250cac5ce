"""The weights of a hub's model, read by range where they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ftctl.contract.lineage import FileRecord
from ftctl.contract.modelfiles import MODEL_PATTERNS, WEIGHTS_SUFFIX
from ftctl.errors import StorageError
from ftctl.storage.base import NotFoundError
from ftctl.storage.hub import hub_errors

_PARTIAL = 206
# Besides connections that break off, also in the middle of an answer.
_RETRIED = (408, 429, 500, 502, 503, 504)


class HubFiles:
    """The files of a model at a commit, as something to read from. Safe in several threads."""

    def __init__(self, name: str, commit: str) -> None:
        from huggingface_hub import constants

        self._name, self._commit = name, commit
        self.url = f"{constants.ENDPOINT}/{name}/resolve/{commit}"

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """
        Return `length` bytes from `start`, fewer at the end.

        Raises:
            NotFoundError: the commit has no such file.
            ConfigError: the model is gone, or closed to us.
            StorageError: the hub does not answer.
        """
        from huggingface_hub.utils import hf_raise_for_status, http_backoff

        with self._errors(key) as url:
            answer = http_backoff("GET", url, **_request(start, length))
            hf_raise_for_status(answer)
            if answer.status_code != _PARTIAL:
                raise StorageError("the model hub sent another range than was asked for", where=url)
            return bytes(answer.content)

    def sends_ranges(self, key: str) -> bool:
        """
        Whether a file can be read by range; some mirrors send the whole of it.

        Raises: as `read_range`.
        """
        from huggingface_hub.utils import hf_raise_for_status, http_stream_backoff

        # As a stream, whose body is left: it may be a whole shard.
        with (
            self._errors(key) as url,
            http_stream_backoff("GET", url, **_request(0, 8)) as answer,
        ):
            hf_raise_for_status(answer)
            return bool(answer.status_code == _PARTIAL)

    @contextmanager
    def _errors(self, key: str) -> Iterator[str]:
        """Yield the file's URL."""
        from huggingface_hub import errors, hf_hub_url

        url = hf_hub_url(self._name, key, revision=self._commit)
        with hub_errors(self._name, self._commit):
            try:
                yield url
            except errors.RemoteEntryNotFoundError as error:
                raise NotFoundError("there is no such file", where=url) from error


def _request(start: int, length: int) -> dict[str, Any]:
    from huggingface_hub import constants
    from huggingface_hub.utils import build_hf_headers

    return {
        "headers": {**build_hf_headers(), "Range": f"bytes={start}-{start + length - 1}"},
        # The library's own client waits for ever.
        "timeout": constants.HF_HUB_DOWNLOAD_TIMEOUT,
        "retry_on_status_codes": _RETRIED,
    }


def readable_shards(name: str, commit: str) -> list[FileRecord] | None:
    """
    Ask for a model's safetensors files: size in bytes and sha256, as the hub keeps them.

    None where they cannot be read by range: it has none, the hub keeps no sha256 of one, or sends
    no ranges.

    Raises:
        ConfigError: the model is gone, or closed to us.
        StorageError: the hub does not answer.
    """
    from huggingface_hub import HfApi

    with hub_errors(name, commit):
        about = HfApi().model_info(name, revision=commit, files_metadata=True)
    files = [
        file
        for file in about.siblings or []
        if file.rfilename.endswith(WEIGHTS_SUFFIX) and "/" not in file.rfilename
    ]
    shards = [
        FileRecord(name=file.rfilename, size=file.lfs.size, sha256=file.lfs.sha256)
        for file in files
        if file.lfs
    ]
    if not shards or len(shards) < len(files):
        return None
    return shards if HubFiles(name, commit).sends_ranges(shards[0].name) else None


def pull_hub_companions(name: str, commit: str, folder: Path) -> None:
    """
    Download a model's small files into a folder: all but its weights.

    Raises: as `hub_snapshot`.
    """
    from huggingface_hub import snapshot_download

    with hub_errors(name, commit):
        snapshot_download(
            name,
            revision=commit,
            local_dir=folder,
            allow_patterns=list(MODEL_PATTERNS),
            ignore_patterns=[f"*{WEIGHTS_SUFFIX}"],
        )
