"""
The train stage with what it does timed, for train.py --profile.

usage: stage.py PROFILE MEMORY train --config FILE

PROFILE is a step: it and the next are profiled, and where their time goes is said on stderr; 0
profiles none. MEMORY is the GPU's in GiB, as if it had no more; 0 takes it as it is. Seconds of
every generation (GRPO) are said too: the device is waited for around it.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from typing import Any

PROFILED = 2


def main() -> None:
    """Run it."""
    first, gib = int(sys.argv[1]), float(sys.argv[2])
    # As the stage sets it, before torch is imported.
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    import torch
    from trl import GRPOTrainer

    from ftctl_trainer.main import end
    from ftctl_trainer.main import main as stage
    from ftctl_trainer.methods.progress import Progress

    GRPOTrainer._generate = _timed(GRPOTrainer._generate)
    if gib:
        whole = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(gib * 2**30 / whole)
    if first:
        Progress.on_step_begin = _Profiled(first).begin
    end(stage(sys.argv[3:]))


def _timed(work: Any) -> Any:
    import torch

    @functools.wraps(work)
    def run(*arguments: Any, **named: Any) -> Any:
        torch.cuda.synchronize()
        start = time.perf_counter()
        found = work(*arguments, **named)
        torch.cuda.synchronize()
        _say({"generated_s": round(time.perf_counter() - start, 3)})
        return found

    return run


class _Profiled:
    """Profiles some steps, and says what took longest on the device and on the host."""

    def __init__(self, first: int) -> None:
        self._first = first
        self._profile: Any = None

    def begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A callback of the trainer's."""
        import torch
        from torch.profiler import ProfilerActivity, profile

        if state.global_step == self._first - 1:
            # Where the host waits for the device is warned of, and is in no profile.
            torch.cuda.set_sync_debug_mode("warn")
        elif state.global_step == self._first:
            torch.cuda.set_sync_debug_mode("default")
            self._profile = profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA])
            torch.cuda.synchronize()
            self._profile.start()
            self._start = time.perf_counter()
        elif state.global_step == self._first + PROFILED and self._profile is not None:
            torch.cuda.synchronize()
            elapsed = (time.perf_counter() - self._start) * 1e3
            self._profile.stop()
            self._tell(self._profile.key_averages(), elapsed)
            self._profile = None

    def _tell(self, events: Any, elapsed: float) -> None:
        # An operation has its kernels' time beside the kernels themselves.
        kernels = {
            e.key: (e.self_device_time_total / 1e3, e.count)
            for e in events
            if e.device_type.name == "CUDA"
        }
        on_host = {e.key: (e.self_cpu_time_total / 1e3, e.count) for e in events}
        _say({"profiled_steps": PROFILED, "wall_ms": round(elapsed)})
        for name, table in (("device", kernels), ("host", on_host)):
            total = sum(ms for ms, _ in table.values())
            _say({"profile": name, "total_ms": round(total, 1)})
            for key, (ms, count) in sorted(table.items(), key=lambda item: -item[1][0])[:30]:
                if ms > 0:
                    _say({"profile": name, "ms": round(ms, 2), "calls": count, "of": key[:90]})


def _say(what: dict[str, Any]) -> None:
    sys.stderr.write(json.dumps(what) + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
