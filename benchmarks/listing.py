"""
Seconds and peak memory of `ftctl list` and `ftctl status` over many runs, cold processes.

An S3 server of its own (SeaweedFS, from the dev extra) holds the runs' records; where KUBECONFIG
names a cluster, a namespace of its own holds one Job for every five runs. No controller touches
those Jobs (spec.managedBy) and nothing runs: their states are written as the controller would.

Example: python benchmarks/listing.py --runs 500 5000
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the tests' server and runs

from benchmarks.many_jobs import many_jobs

from ftctl.cluster.open import has_cluster, open_cluster
from ftctl.contract.layout import RunLayout
from ftctl.contract.operational import StorageConfig
from ftctl.contract.placement import Placement
from ftctl.contract.status import IndexRecord, State, Status
from ftctl.storage.base import Store
from ftctl.storage.index import keep_packed, write_index
from ftctl.storage.open import open_store
from ftctl.storage.parallel import each
from ftctl.storage.placement import write_placement
from tests.integration.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, running_server

TARGET_S = 2.0
TARGET_RATIO = 1.2
RUNS_A_JOB = 5
# Of the newest runs, so many go on; for them the cluster is asked.
GOING_ON = 10
# Runs ftctl and says at its end how much memory was resident at most: unlike getrusage's figure,
# VmHWM begins anew with each program.
_PROGRAM = """
import atexit, sys
def say():
    with open("/proc/self/status") as file:
        sys.stderr.write([line for line in file if line.startswith("VmHWM")][0])
atexit.register(say)
from ftctl.app import main
main()
"""


@dataclass
class Measured:
    """A command over a number of runs."""

    first_s: float = 0.0
    walls_s: list[float] = field(default_factory=list)
    cpus_s: list[float] = field(default_factory=list)
    peaks_mib: list[float] = field(default_factory=list)


def main() -> int:
    """Print a table and the memory ratios; 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, nargs="+", default=[500, 5000], help="runs in a store")
    parser.add_argument("--rounds", type=int, default=5, help="counted processes a command")
    options = parser.parse_args()
    os.environ.update(
        AWS_ACCESS_KEY_ID=ACCESS_KEY, AWS_SECRET_ACCESS_KEY=SECRET_KEY, AWS_REGION="us-east-1"
    )
    measured: dict[tuple[str, int], Measured] = {}
    with (
        tempfile.TemporaryDirectory(prefix="listing-") as folder,
        running_server(Path(folder)) as server,
    ):
        for count in options.runs:
            found = measure_all(server.endpoint_url, count, options.rounds)
            measured |= {(name, count): one for name, one in found.items()}
    return _report(measured, options.runs, options.rounds)


def measure_all(endpoint_url: str, count: int, rounds: int) -> dict[str, Measured]:
    """Every command over so many runs in a store of their own, by its name."""
    url = f"s3://{BUCKET}/{count}"
    store = open_store(StorageConfig(url=url, endpoint_url=endpoint_url, addressing="path"))
    run_ids = fill(store, count)
    overrides = [
        "storage=s3-compatible",
        f"storage.url={url}",
        f"storage.endpoint_url={endpoint_url}",
    ]
    with _jobs(store, run_ids) as namespace:
        overrides += [f"cluster.namespace={namespace}"] if namespace else []
        return {
            name: measure([*command, *overrides], rounds)
            for name, command in commands(run_ids[0]).items()
        }


def commands(run_id: str) -> dict[str, list[str]]:
    """What is measured, by the name in the table."""
    return {
        "list": ["list"],
        "list --json": ["list", "--json"],
        "status RUN": ["status", run_id],
        "status PREFIX": ["status", run_id[:-2]],
    }


def fill(store: Store, count: int) -> list[str]:
    """Write index record and status of so many runs; return their ids, newest first."""
    at = datetime.now(UTC).replace(microsecond=0)
    run_ids = [
        f"support-bot-{hashlib.sha256(str(number).encode()).hexdigest()[:12]}"
        for number in range(count)
    ]

    def write(number: int) -> None:
        state: State = "succeeded" if number % 20 else "failed"
        state = "running" if number < GOING_ON else state
        created = at - timedelta(minutes=100 * number)
        record = IndexRecord(
            run_id=run_ids[number],
            name="support-bot",
            created=created,
            state=state,
            stage="convert",
            model="Vikhrmodels/Vikhr-YandexGPT-5-Lite-8B-it",
            method="sft",
            loss=1 / (number + 1),
            updated=created,
        )
        write_index(store, record)
        status = Status(
            run_id=record.run_id,
            stage=record.stage,
            state=record.state,
            phase="publishing",
            step=900,
            total_steps=900,
            loss=record.loss,
            heartbeat=record.updated,
        )
        keys = RunLayout(record.run_id)
        store.write(keys.status, status.model_dump_json().encode())

    each(write, range(count))
    keep_packed(store)  # as the last of them that ended does
    return run_ids


def measure(command: list[str], rounds: int) -> Measured:
    """Run a command once, and then so many times that count."""
    found = Measured()
    for number in range(rounds + 1):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, *command], capture_output=True, text=True, check=True
        )
        wall_s = time.perf_counter() - start
        if number == 0:
            found.first_s = wall_s
            continue
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        found.walls_s.append(wall_s)
        found.cpus_s.append(cpu_s)
        # `VmHWM:  91234 kB`, where kB are KiB.
        found.peaks_mib.append(int(done.stderr.splitlines()[-1].split()[1]) / 1024)
    return found


@contextmanager
def _jobs(store: Store, run_ids: Sequence[str]) -> Iterator[str | None]:
    """A namespace with Jobs of the newest runs; those that go on are placed there."""
    if not has_cluster():
        sys.stderr.write("there is no kubeconfig: the store alone is listed\n")
        yield None
        return
    server = open_cluster().server
    with many_jobs(run_ids[: len(run_ids) // RUNS_A_JOB], going_on=GOING_ON) as namespace:
        for run_id in run_ids[:GOING_ON]:
            write_placement(store, run_id, Placement(server=server, namespace=namespace))
        yield namespace


def _report(measured: dict[tuple[str, int], Measured], runs: Sequence[int], rounds: int) -> int:
    lines = [
        f"{rounds} rounds, {os.cpu_count()} cores",
        f"{'ftctl ...':16}{'runs':>8}{'first s':>9}{'median s':>10}{'min s':>8}{'cpu s':>8}"
        f"{'peak MiB':>10}",
    ]
    missed = False
    for (name, count), found in measured.items():
        median_s, peak = statistics.median(found.walls_s), statistics.median(found.peaks_mib)
        missed |= median_s > TARGET_S
        lines.append(
            f"{name:16}{count:8}{found.first_s:9.2f}{median_s:10.2f}{min(found.walls_s):8.2f}"
            f"{statistics.median(found.cpus_s):8.2f}{peak:10.0f}"
        )
    few, many = min(runs), max(runs)
    for name in dict.fromkeys(name for name, _ in measured):
        peaks = [statistics.median(measured[name, count].peaks_mib) for count in (many, few)]
        missed |= peaks[0] > TARGET_RATIO * peaks[1]
        lines.append(f"{name:16}memory at {many} by that at {few}: {peaks[0] / peaks[1]:.2f}")
    lines.append(f"targets: {TARGET_S:g} s, {TARGET_RATIO:g} times the memory")
    sys.stdout.write("\n".join(lines) + "\n")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
