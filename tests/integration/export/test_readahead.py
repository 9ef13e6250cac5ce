"""Shards read by range from a store: the same tensors, held to their sha256, whatever happens."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from ftctl.contract.checksum import file_sha256
from ftctl.contract.lineage import FileRecord
from ftctl.contract.operational import StorageConfig
from ftctl.errors import RunFailedError, StorageError
from ftctl.storage.base import DamagedError, Store
from ftctl.storage.open import open_store
from ftctl_trainer.export.base import Description, StoredWeights, base_tensors, describe
from ftctl_trainer.export.checksums import Checksums
from ftctl_trainer.export.readahead import AHEAD_BLOCKS, KEPT_BLOCKS, RemoteShards, check_rest
from ftctl_trainer.export.tensors import Tensor, read_folder, read_shards
from tests.integration.s3_server import Proxy, S3Server

PREFIX = "models/abc/"
BLOCK = 4096
NAMES = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards of 1.3 MB in three formats, tensors across many blocks."""
    folder = tmp_path_factory.mktemp("shards")
    random = np.random.default_rng(0)
    for number, name in enumerate(NAMES):
        tensors = {
            f"{number}.{index}.weight": random.normal(size=(97 + index, 64)).astype(dtype)
            for index, dtype in enumerate(("<f4", "<f2", "<f4") * 8)
        }
        save_file(tensors, folder / name)
    return folder


def _stored(store: Store, folder: Path) -> list[FileRecord]:
    return [
        FileRecord(
            name=name, size=(folder / name).stat().st_size, sha256=store.upload(
                folder / name, PREFIX + name
            )
        )
        for name in NAMES
    ]  # fmt: skip


class _Counted:
    """A store whose reads by range are counted, and may be made slow."""

    def __init__(self, store: Store) -> None:
        self.url, self._store = store.url, store
        self.ranges: list[tuple[int, int]] = []

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Read, and remember it."""
        self.ranges.append((start, length))
        return self._store.read_range(key, start, length)


def _read(store: Store, files: list[FileRecord], folder: Path) -> dict[str, Tensor]:
    found = RemoteShards(store, PREFIX, files, Checksums(folder / "checked"), block_bytes=BLOCK)
    return read_shards(found.shards())


def test_stored_shards_have_the_tensors_of_the_files(
    store: Store, shards: Path, tmp_path: Path
) -> None:
    files = _stored(store, shards)
    counted = _Counted(store)

    tensors = _read(counted, files, tmp_path)  # type: ignore[arg-type]

    wanted = read_folder(shards)
    assert list(tensors) == list(wanted)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(tensor.load(), wanted[name].load())
        assert tensor.rows
        np.testing.assert_array_equal(tensor.rows(5, 60), wanted[name].load()[5:60])
    # Each byte once, but for the block of a header that is gone when its tensors are wanted.
    read = sum(length for _, length in counted.ranges)
    assert 0 <= read - sum(file.size for file in files) <= len(files) * BLOCK
    assert all(Checksums(tmp_path / "checked").knows(file) for file in files)


def test_any_order_is_read_and_checked(store: Store, shards: Path, tmp_path: Path) -> None:
    files = _stored(store, shards)
    tensors = _read(store, files, tmp_path)
    wanted = read_folder(shards)

    order = np.random.default_rng(1).permutation(sorted(tensors))
    for name in order:
        np.testing.assert_array_equal(tensors[name].load(), wanted[name].load())
    check_rest(store, PREFIX, files, Checksums(tmp_path / "checked"))

    assert all(Checksums(tmp_path / "checked").knows(file) for file in files)


def test_memory_is_bounded_in_blocks(store: Store, shards: Path, tmp_path: Path) -> None:
    files = _stored(store, shards)
    found = RemoteShards(store, PREFIX, files, Checksums(tmp_path / "checked"), block_bytes=BLOCK)

    for tensor in read_shards(found.shards()).values():
        tensor.load()

    assert found.held_blocks <= AHEAD_BLOCKS + KEPT_BLOCKS
    assert sum(file.size for file in files) // BLOCK > 2 * (AHEAD_BLOCKS + KEPT_BLOCKS)


@pytest.mark.parametrize("passes", ["whole", "in-part"])
def test_a_shard_that_was_changed_is_found(
    passes: str, store: Store, shards: Path, tmp_path: Path
) -> None:
    """One bit of a value, which no length and no header shows."""
    files = _stored(store, shards)
    body = bytearray((shards / NAMES[1]).read_bytes())
    body[-2000] ^= 1
    store.write(PREFIX + NAMES[1], bytes(body))
    tensors = _read(store, files, tmp_path)

    def use() -> None:
        for name, tensor in tensors.items():
            if passes == "whole" or name.startswith("0."):
                tensor.load()
        check_rest(store, PREFIX, files, Checksums(tmp_path / "checked"))

    with pytest.raises(DamagedError, match="the content has sha256") as caught:
        use()
    assert caught.value.where == f"{store.url}/{PREFIX}{NAMES[1]}"


@pytest.mark.parametrize(
    ("harm", "want"),
    [
        pytest.param(lambda body: None, "there is no such object", id="gone"),
        pytest.param(lambda body: body[:-5000], r"cut short: \d+ bytes of \d+ came", id="shorter"),
    ],
)
def test_a_shard_that_is_not_there_whole_is_named(
    harm: Callable[[bytes], bytes | None], want: str, store: Store, shards: Path, tmp_path: Path
) -> None:
    files = _stored(store, shards)
    left = harm((shards / NAMES[1]).read_bytes())
    store.delete(PREFIX + NAMES[1])
    if left is not None:
        store.write(PREFIX + NAMES[1], left)

    def use() -> None:
        for tensor in _read(store, files, tmp_path).values():
            tensor.load()

    with pytest.raises((StorageError, RunFailedError), match=want) as caught:
        use()
    assert caught.value.where == f"{store.url}/{PREFIX}{NAMES[1]}"


def test_a_shard_that_the_model_in_the_store_lacks_is_named(
    store_config: StorageConfig, shards: Path, tmp_path: Path
) -> None:
    files = _stored(open_store(store_config), shards)
    weights = dict.fromkeys(("0.0.weight", "1.0.weight"), NAMES[0]) | {
        "x": "model-00003.safetensors"
    }
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))
    stored = StoredWeights(storage=store_config, prefix=PREFIX, files=files)
    describe(tmp_path, Description(stored=stored))

    with pytest.raises(RunFailedError, match=r"missing shard model-00003\.safetensors"):
        base_tensors(tmp_path)


@contextmanager
def _faulty(s3_server: S3Server, fault: str) -> Iterator[Proxy]:
    """The server behind something that fails for a while, or is slow."""
    broken: set[int] = set()

    def cut(number: int, answers: bool, size: int) -> bool:
        if fault == "slow" and answers:
            time.sleep(0.01)
        elif fault == "reset" and not answers and number < 3:
            return True
        elif fault == "truncated" and answers and size > 3 * BLOCK and len(broken) < 3:
            broken.add(number)
        return number in broken

    with Proxy(s3_server.port, cut, fails=3 if fault == "500s" else 0) as proxy:
        yield proxy


@pytest.mark.parametrize("fault", ["500s", "reset", "truncated", "slow"])
def test_faults_in_between_change_nothing_but_the_time(
    fault: str, s3_server: S3Server, s3_config: StorageConfig, shards: Path, tmp_path: Path
) -> None:
    files = _stored(open_store(s3_config), shards)
    wanted = read_folder(shards)

    with _faulty(s3_server, fault) as proxy:
        behind = s3_config.model_copy(update={"endpoint_url": proxy.endpoint_url})
        tensors = _read(open_store(behind), files, tmp_path)
        for name, tensor in tensors.items():
            np.testing.assert_array_equal(tensor.load(), wanted[name].load())
        assert proxy.connections > (3 if fault != "slow" else 0)
    assert [file_sha256(shards / name) for name in NAMES] == [file.sha256 for file in files]
    assert all(Checksums(tmp_path / "checked").knows(file) for file in files)
