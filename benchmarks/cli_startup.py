"""
Seconds until the command line answers: a cold process each time, bytecode compiled.

Example: python benchmarks/cli_startup.py --runs 20
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time

# Command and the most seconds it may take.
COMMANDS = {
    "--help": 0.15,
    "config show": 0.6,
    "config show experiment=quickstart": 0.6,
    "render experiment=smoke cluster=cpu storage.url=s3://bucket/prefix": 0.8,
}


def main() -> None:
    """Print a table: median and fastest wall time, median processor time, and the target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="processes a command")
    runs = parser.parse_args().runs
    lines = [f"{'ftctl ...':68}{'median s':>10}{'min s':>8}{'cpu s':>8}{'target s':>10}"]
    for command, target_s in COMMANDS.items():
        measure(command)  # Compiles the bytecode and fills the file cache.
        walls, cpus = zip(*(measure(command) for _ in range(runs)), strict=True)
        lines.append(
            f"{command:68}{statistics.median(walls):10.3f}{min(walls):8.3f}"
            f"{statistics.median(cpus):8.3f}{target_s:10.2f}"
        )
    sys.stdout.write("\n".join(lines) + "\n")


def measure(command: str) -> tuple[float, float]:
    """Run `ftctl COMMAND` once; return its wall and processor time in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    program = "from ftctl.app import main; main()"
    subprocess.run(
        [sys.executable, "-c", program, *command.split()],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    wall_s = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall_s, cpu_s


if __name__ == "__main__":
    main()
