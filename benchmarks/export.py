"""
One pass against the usual four: PEFT merge, save, llama.cpp's converter, llama-quantize.

Both start from the same folders on the same disk, a generated llama in bfloat16 and an adapter on
all projections, and run with the same threads, one after the other; the page cache is warm for
both. Reading the files back and running them is left out. Types of k and i blocks are held to the
quantizer's own time: ggml_quantize_chunk over the same tensors in memory.

The shape 1b needs 12 GB of disk (TMPDIR) and 8 GB of memory, and takes a quarter of an hour on two
cores; tiny shows in three minutes that all of it works.

Bytes read count files that a step maps into memory by their size. Peak memory is of the largest
process, with mapped pages that are resident.

Example: FTCTL_LLAMA_CPP_DIR=~/llama.cpp python benchmarks/export.py --shape tiny
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the tests' models

# Each part is a process that imports what it needs, and this module again where it starts others.
if TYPE_CHECKING:
    from ftctl_trainer.export.inputs import Inputs
    from ftctl_trainer.export.tools import Tools

MB = 10**6
SHAPES = {
    "tiny": {"hidden": 256, "inner": 512, "layers": 2, "heads": 4, "kv": 2, "vocabulary": 49152},
    "small": {"hidden": 512, "inner": 2048, "layers": 4, "heads": 8, "kv": 2, "vocabulary": 49152},
    "1b": {"hidden": 2048, "inner": 8192, "layers": 16, "heads": 32, "kv": 8, "vocabulary": 128256},
}  # fmt: skip
RANK = 16
BLOCK_TYPES = ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0"]
THREE_TYPES = ["q4_0", "q4_1", "q8_0"]
OTHER_TYPES = ["q4_k_m", "q6_k", "iq4_xs"]
PEFT_MERGE = """
import sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
base, adapter, merged, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(merged)
AutoTokenizer.from_pretrained(base).save_pretrained(merged)
"""


@dataclass(frozen=True)
class Cost:
    """What a step took."""

    seconds: float = 0.0
    read: int = 0
    written: int = 0
    peak: int = 0

    def __add__(self, other: Cost) -> Cost:
        """One step after another."""
        return Cost(
            self.seconds + other.seconds,
            self.read + other.read,
            self.written + other.written,
            max(self.peak, other.peak),
        )


@dataclass(frozen=True)
class Bench:
    """Folders and programs."""

    root: Path
    tools: Tools
    threads: int

    @property
    def base(self) -> Path:
        """The base model."""
        return self.root / "base"

    @property
    def adapter(self) -> Path:
        """The adapter."""
        return self.root / "adapter"


def main() -> None:
    """Generate, run both, print."""
    if sys.argv[1:2] == ["--part"]:
        PARTS[sys.argv[2]](json.loads(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="1b")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=1)
    asked = parser.parse_args()
    from ftctl.contract.spec import PathsConfig
    from ftctl_trainer.export.tools import find_tools

    tools = find_tools(PathsConfig())
    if tools is None:
        sys.exit("FTCTL_LLAMA_CPP_DIR names no llama.cpp with llama-quantize built")
    with tempfile.TemporaryDirectory(prefix="ftctl-export-") as name:
        bench = Bench(Path(name), tools, asked.threads)
        # In a process of its own: Linux counts a parent's memory to the peak of what it starts.
        run_part(bench, "generate", {"shape": SHAPES[asked.shape]})
        for number in range(asked.rounds):
            report(bench, number)


def report(bench: Bench, number: int) -> None:
    """Run everything once and print a table."""
    say(f"round {number + 1}, {bench.threads} threads")
    say(f"{'':34}{'seconds':>9}{'read MB':>9}{'written MB':>11}{'peak MB':>9}{'ratio':>8}")
    for types in ([kind] for kind in BLOCK_TYPES):
        compare(bench, types)
    compare(bench, THREE_TYPES)
    for kind in OTHER_TYPES:
        against_the_quantizer(bench, kind)


def against_the_quantizer(bench: Bench, kind: str) -> None:
    """One pass, and ggml_quantize_chunk over tensors that are in memory."""
    ours = in_one_pass(bench, [kind])
    alone = run_part(bench, "quantizer", {"type": kind})
    spent = float((bench.root / "quantizer").read_text())
    row(f"one pass: {kind}", ours, ours.seconds / spent)
    say(f"{f'ggml_quantize_chunk alone: {kind}':34}{spent:9.1f}")
    row("  (with reading the tensors)", alone, None)


def compare(bench: Bench, types: list[str]) -> None:
    """Both ways to some types; several by doing the usual steps for each."""
    ours = in_one_pass(bench, types)
    usual = Cost()
    for kind in types:
        usual += step_by_step(bench, kind)
    names = " ".join(types)
    row(f"merge, save, convert, quantize: {names}", usual, None)
    row(f"one pass: {names}", ours, ours.seconds / usual.seconds)


def step_by_step(bench: Bench, kind: str) -> Cost:
    """PEFT merge and save, the converter, llama-quantize; what they leave is deleted."""
    merged, whole, target = (bench.root / name for name in ("merged", "whole.gguf", "out.gguf"))
    threads = str(bench.threads)
    python = sys.executable
    base = size_of(bench.base)
    steps: list[tuple[list[object], Callable[[], int]]] = [
        ([python, "-c", PEFT_MERGE, bench.base, bench.adapter, merged, threads], lambda: base),
        (
            [python, bench.tools.converter, merged, "--outfile", whole, "--outtype", "f16"],
            lambda: size_of(merged),
        ),
        (
            [bench.tools.quantizer, whole, target, kind.upper(), threads],
            lambda: whole.stat().st_size,
        ),
    ]
    total = Cost()
    for command, mapped in steps:
        total += measured([str(part) for part in command], bench.root, mapped)
    for path in (*merged.iterdir(), whole, target):
        path.unlink()
    return total


def in_one_pass(bench: Bench, types: list[str]) -> Cost:
    """Ours."""
    found = run_part(bench, "pass", {"types": types})
    for kind in types:
        (bench.root / f"{kind}.gguf").unlink()
    return found


def run_part(bench: Bench, name: str, more: dict[str, object]) -> Cost:
    """One of PARTS in a process of its own."""
    settings = {
        "root": str(bench.root),
        "converter": str(bench.tools.converter),
        "quantizer": str(bench.tools.quantizer),
        "threads": bench.threads,
        **more,
    }
    command = [sys.executable, __file__, "--part", name, json.dumps(settings)]
    return measured(command, bench.root, lambda: 0)


def measured(command: list[str], root: Path, mapped: Callable[[], int]) -> Cost:
    """Run a command; what it wrote is what the folder grew by."""
    before = size_of(root)
    start = time.monotonic()
    with (root / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        reads = Reads(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    spent = time.monotonic() - start
    if process.returncode != 0:
        sys.exit((root / "log").read_text(errors="replace")[-3000:])
    read = max(reads.stop(), mapped())
    return Cost(spent, read, size_of(root) - before, usage.ru_maxrss * 1024)


class Reads:
    """Bytes that a process and its children ask the system for, looked at while they run."""

    def __init__(self, pid: int) -> None:
        """Begin to look."""
        self._pid = pid
        self._seen: dict[int, int] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def stop(self) -> int:
        """Return the sum; a process has those of children that it has waited for."""
        self._end.set()
        self._thread.join()
        own = self._seen.pop(self._pid, 0)
        return max(own, sum(self._seen.values()))

    def _look(self) -> None:
        while not self._end.wait(0.05):
            for each in (self._pid, *children(self._pid)):
                try:
                    text = Path(f"/proc/{each}/io").read_text()
                except OSError:  # it has just ended
                    continue
                self._seen[each] = int(text.split()[1])


def children(pid: int) -> list[int]:
    """Processes that a process started."""
    try:
        lists = [task.read_text() for task in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return []
    return [int(child) for text in lists for child in text.split()]


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def generate(settings: dict[str, object]) -> None:
    """Write the model and the adapter."""
    from benchmarks.generated_llama import write_llama

    bench, _ = of_settings(settings)
    shape: dict[str, int] = settings["shape"]  # type: ignore[assignment]
    write_llama(shape, bench.base, bench.adapter, rank=RANK)


def one_pass(settings: dict[str, object]) -> None:
    """Merge, GGUF and quantize as the convert stage does, without reading back."""
    from ftctl_trainer.export.gguf import write_merged
    from ftctl_trainer.export.isolated import isolated_beside

    bench, inputs = of_settings(settings)
    outputs = {kind: bench.root / f"{kind}.gguf" for kind in settings["types"]}  # type: ignore[attr-defined]
    scratch = bench.root / "scratch"
    scratch.mkdir(exist_ok=True)
    packages = {"gguf": bench.tools.sources / "gguf-py"}
    stop = threading.Event()
    isolated_beside(
        packages, stop, write_merged, inputs, outputs, bench.tools, scratch, bench.threads
    )


def quantizer_alone(settings: dict[str, object]) -> None:
    """Time ggml_quantize_chunk over all tensors, each loaded before the clock starts."""
    from ftctl_trainer.export.blocks import blocks
    from ftctl_trainer.export.built_in import built_in_model
    from ftctl_trainer.export.quantize import encode

    bench, inputs = of_settings(settings)
    model = built_in_model(inputs)
    kinds = model.plan(str(settings["type"]))
    spent = 0.0
    for tensor in model.tensors:
        for block in blocks(tensor, with_base=False):
            start = time.monotonic()
            encode(block.values, kinds[tensor.name], threads=bench.threads)
            spent += time.monotonic() - start
    (bench.root / "quantizer").write_text(str(spent))


def of_settings(settings: dict[str, object]) -> tuple[Bench, Inputs]:
    """What a part of ours works on."""
    from ftctl_trainer.export.inputs import Inputs
    from ftctl_trainer.export.tools import Tools

    tools = Tools(Path(str(settings["converter"])), Path(str(settings["quantizer"])))
    bench = Bench(Path(str(settings["root"])), tools, int(str(settings["threads"])))
    return bench, Inputs(bench.base, bench.adapter, "bench")


PARTS = {"generate": generate, "pass": one_pass, "quantizer": quantizer_alone}


def row(name: str, cost: Cost, ratio: float | None) -> None:
    """Print one line of the table."""
    last = "" if ratio is None else f"{ratio:8.2f}"
    say(
        f"{name:34}{cost.seconds:9.1f}{cost.read / MB:9.0f}{cost.written / MB:11.0f}"
        f"{cost.peak / MB:9.0f}{last}"
    )


def say(line: str) -> None:
    """Print."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
