"""
Memory, disk and bytes of an export whose base lies in an S3 server and does not fit into memory.

A dense llama (of 8B by default) is put into a server of its own, and exported from there to several
types in one pass: merged with an adapter on all projections, quantized, read back. One sixteenth
of its weights are random, the rest are zero, and the server's files are made sparse, so that 16 GB
take 1 GB of disk. Quantizers of fixed cost take no notice. llama.cpp does not run the files: that
needs as much memory as they have bytes.

The shape `experts`, a mixtral of two layers, goes through llama.cpp's converter, which makes one
tensor of the experts' weights; FTCTL_LLAMA_CPP_DIR names it.

Example: python benchmarks/bounded_merge.py --shape small
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the tests' server

from benchmarks.sparse_base import RANK, write_adapter, write_base

from ftctl.contract.modelfiles import folder_revision
from ftctl.contract.operational import StorageConfig
from ftctl.contract.runfile import ModelSource
from ftctl.contract.spec import PathsConfig
from ftctl.storage.models import push_model
from ftctl.storage.open import open_store
from ftctl_trainer.export.inputs import Inputs
from ftctl_trainer.export.tools import Tools, find_tools
from tests.integration.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, free_ports, running_server

# The rest is imported where it is used: the export's processes begin with this module, and in them
# the package gguf must be that of llama.cpp's sources.

MIB, GB = 2**20, 10**9
LIMIT_GB = 2.0
SHAPES = {
    "small": {"hidden": 512, "inner": 1792, "layers": 4, "heads": 8, "kv": 2, "vocabulary": 8192},
    "1b": {"hidden": 2048, "inner": 8192, "layers": 16, "heads": 32, "kv": 8, "vocabulary": 32768},
    "8b": {"hidden": 4096, "inner": 14336, "layers": 32, "heads": 32, "kv": 8,
           "vocabulary": 128256},
    "tiny-experts": {"hidden": 256, "inner": 512, "layers": 2, "heads": 4, "kv": 2,
                     "vocabulary": 49152, "experts": 4},
    "experts": {"hidden": 4096, "inner": 14336, "layers": 2, "heads": 32, "kv": 8,
                "vocabulary": 49152, "experts": 8},
}  # fmt: skip


def main() -> None:
    """Generate, upload, export, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="8b")
    parser.add_argument("--types", nargs="+", default=["q4_0", "q4_1", "q8_0"])
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    logging.basicConfig(format="%(message)s")
    logging.getLogger("ftctl_trainer.export").setLevel("INFO")  # which way the export goes
    with tempfile.TemporaryDirectory(prefix="ftctl-bounded-") as name:
        run(Path(name), SHAPES[asked.shape], asked.types, asked.threads)


def run(root: Path, shape: dict[str, int], types: list[str], threads: int) -> None:
    """Measure one export below `root`."""
    from ftctl_trainer.export.gguf import export
    from ftctl_trainer.model.source import streamed_model

    os.environ |= {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "FTCTL_CACHE": str(root / "cache"),
    }
    [metrics] = free_ports(1)
    (root / "server").mkdir()
    more = [f"-metricsPort={metrics}", "-master.volumeSizeLimitMB=1024"]
    with running_server(root / "server", more=more) as server:
        config = StorageConfig(url=f"s3://{BUCKET}", endpoint_url=server.endpoint_url)
        source, size = _uploaded(root, shape, config)
        write_adapter(root / "adapter", shape)
        say(f"base: {size / GB:.2f} GB in the server, adapter of rank {RANK}")
        outputs = {qtype: root / "out" / f"{qtype}.gguf" for qtype in types}
        scratch = root / "scratch"
        for folder in (root / "out", scratch):
            folder.mkdir()
        before, started = sent_bytes(metrics), time.monotonic()
        with watched(scratch) as seen:
            base = streamed_model(source, open_store(config), (config, None), root / "base")
            export(
                Inputs(base, root / "adapter", "bounded"), outputs, tools=_tools(shape),
                scratch=scratch, threads=threads, stop=threading.Event(),
            )  # fmt: skip
        seconds = time.monotonic() - started
        read = sent_bytes(metrics) - before
    written = sum(path.stat().st_size for path in outputs.values())
    say(f"{', '.join(types)} on {threads} threads: {seconds:.0f} s, read back among it")
    for number, peak in enumerate(seen.peaks.values(), start=1):
        say(
            f"process {number}: peak {peak.resident / GB:.2f} GB resident, "
            f"{peak.own / GB:.2f} GB of it its own, {peak.seconds:.0f} s"
        )
    say(f"read from the server: {read / GB:.2f} GB, {read / size:.2f} times the base")
    say(f"written: {written / GB:.2f} GB; scratch at most {seen.scratch / GB:.3f} GB")
    worst, limit = max(peak.own for peak in seen.peaks.values()) / GB, _limit_gb(shape)
    say(f"target {limit:.2f} GB: {'met' if worst <= limit else 'MISSED'}")


def _tools(shape: dict[str, int]) -> Tools | None:
    tools = find_tools(PathsConfig()) if "experts" in shape else None
    if "experts" in shape and tools is None:
        sys.exit("FTCTL_LLAMA_CPP_DIR names no llama.cpp, whose converter experts need")
    return tools


def _limit_gb(shape: dict[str, int]) -> float:
    """2 GB; of experts twice the largest tensor, which is those of a layer, in bfloat16."""
    largest = shape.get("experts", 0) * shape["hidden"] * shape["inner"]
    return 2 * 2 * largest / GB if largest else LIMIT_GB


def _uploaded(root: Path, shape: dict[str, int], config: StorageConfig) -> tuple[ModelSource, int]:
    """Put the base into the store and forget it here; return where it came from, and its size."""
    folder = write_base(root / "model", shape)
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    source = ModelSource(
        name="base", kind="folder", path=str(folder), revision=folder_revision(folder)
    )
    with sparse(root / "server"):
        push_model(open_store(config), source)
    folder.rename(root / "gone")
    return source, size


@contextmanager
def sparse(folder: Path) -> Iterator[None]:
    """Give zeros in the server's volumes back to the file system, while and after they come."""
    done = threading.Event()

    def dig() -> None:
        for volume in folder.rglob("*.dat"):
            subprocess.run(["fallocate", "--dig-holes", volume], check=False)

    def work() -> None:
        while not done.wait(5):
            dig()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        dig()


@dataclass
class Peak:
    """Of one process, in bytes: memory with mapped files, without, and how long it was there."""

    resident: int = 0
    own: int = 0
    seconds: float = 0.0
    started: float = field(default_factory=time.monotonic)


@dataclass
class Seen:
    """What was seen while an export ran."""

    peaks: dict[int, Peak] = field(default_factory=dict)
    scratch: int = 0


@contextmanager
def watched(scratch: Path) -> Iterator[Seen]:
    """Look at this process' new children and at a folder, fifty times a second."""
    seen, done = Seen(), threading.Event()
    others = set(_children())

    def work() -> None:
        while not done.wait(0.02):
            for child in set(_children()) - others:
                found = _memory(child)
                peak = seen.peaks.setdefault(child, Peak())
                peak.resident = max(peak.resident, found.get("VmRSS", 0))
                peak.own = max(peak.own, found.get("RssAnon", 0))
                peak.seconds = time.monotonic() - peak.started
            seen.scratch = max(seen.scratch, sum(map(_blocks, scratch.rglob("*"))))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()
    seen.peaks = {child: peak for child, peak in seen.peaks.items() if peak.own > 30 * MIB}


def _blocks(file: Path) -> int:
    """Bytes that a file takes: one of holes, over which types are planned, is no scratch."""
    try:
        return 512 * file.stat().st_blocks
    except OSError:  # gone by now
        return 0


def _children() -> list[int]:
    me = os.getpid()
    tasks = Path(f"/proc/{me}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def _memory(process: int) -> dict[str, int]:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return {}
    parts = (line.split() for line in lines if line.startswith(("VmRSS", "RssAnon")))
    return {name.rstrip(":"): 1024 * int(number) for name, number, _ in parts}


def sent_bytes(port: int) -> int:
    """Bytes that the server's S3 gateway has sent, by its own count."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    name = "SeaweedFS_s3_bucket_traffic_sent_bytes_total"
    return int(sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name)))


def say(text: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
