"""Whether a forward pass can keep all that the backward pass needs, or must compute it again."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)

# Bytes a token, layer and hidden unit. Measured: 20 GB for 8 rows of 1,887 tokens of a llama of 30
# layers and 576 hidden units, 4-bit base in bfloat16, float32 adapters on its seven projections.
# (34 for plain half precision: arXiv:2205.05198, equation 1, without attention scores.)
_BYTES = 80
# Bytes an attention score that eager attention keeps: twice in half precision, once in float32.
_SCORE_BYTES = 8
# The rest is for weights, the optimizer, and what others on the machine take meanwhile.
_SHARE = 0.5
_CGROUP, _MEMINFO = Path("/sys/fs/cgroup"), Path("/proc/meminfo")
# Of cgroup v2 and v1: files of the limit and of what is used, and in memory.stat beside them the
# pages of files that were read, which count as used and give way.
_LIMITS = (
    ("memory.max", "memory.current", "inactive_file "),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file "),
)


def recomputes(setting: bool | str, model: Any, lengths: Sequence[int], batch_size: int) -> bool:
    """
    Decide on gradient checkpointing; `auto` turns it on where memory would not do without.

    Args:
        setting: training.gradient_checkpointing.
        model: has a transformers config.
        lengths: tokens of every training row; the longest fill the batch that counts.
        batch_size: rows a forward pass.
    """
    if setting != "auto":
        return bool(setting)
    needed, free = activation_bytes(model.config, batch_size, max(lengths)), _free_bytes()
    if needed <= free * _SHARE:
        return False
    _log.info(
        "activations of the longest rows would take %.1f GB of the %.1f GB free: "
        "they are computed again in the backward pass",
        needed / 1e9,
        free / 1e9,
    )
    return True


def activation_bytes(config: Any, rows: int, length: int) -> int:
    """Bytes that the layers keep for the backward pass of `rows` rows padded to `length` tokens."""
    a_token = _BYTES * int(config.hidden_size)
    if getattr(config, "_attn_implementation", None) == "eager":
        a_token += _SCORE_BYTES * int(config.num_attention_heads) * length
    return rows * length * int(config.num_hidden_layers) * a_token


def free_main_memory() -> float:
    """Bytes that this process may still take outside the GPU, by the machine and the container."""
    lines = _MEMINFO.read_text(encoding="ascii").splitlines()
    return min(_field(lines, "MemAvailable:") * 1024, _cgroup_bytes())


def _free_bytes() -> float:
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    return free_main_memory()


def _cgroup_bytes() -> float:
    """What this container may still take; infinite without a limit."""
    for limit, used, given_way in _LIMITS:
        try:
            most = (_CGROUP / limit).read_text(encoding="ascii").strip()
            taken = int((_CGROUP / used).read_text(encoding="ascii"))
            stat = (_CGROUP / limit).with_name("memory.stat").read_text(encoding="ascii")
        except OSError:
            continue
        if most == "max":
            return float("inf")
        # Of version 1 a number beyond all memory is no limit: the machine's own is the smaller.
        return float(int(most) - taken + _field(stat.splitlines(), given_way))
    return float("inf")


def _field(lines: Sequence[str], name: str) -> int:
    found = next((line for line in lines if line.startswith(name)), None)
    return 0 if found is None else int(found.removeprefix(name).split()[0])
