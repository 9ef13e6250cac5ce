"""Which number formats a run computes in, from its configuration and the machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ftctl.contract.spec import Dtype
from ftctl.errors import ConfigError

Autocast = Literal["fp16", "bf16"]
Compute = Literal["bf16", "fp16", "fp32", "fp8"]

_BY_COMPUTE: dict[str, Dtype] = {
    "bf16": "bfloat16",
    "fp16": "float16",
    "fp32": "float32",
    "fp8": "bfloat16",
}
_AUTOCAST: dict[Dtype, Autocast | None] = {"float16": "fp16", "bfloat16": "bf16", "float32": None}
# Ada and newer (compute capability) multiply 8-bit floats.
_FLOAT8_CAPABILITY = (8, 9)
# Flags of /proc/cpuinfo: x86 AVX-512 and AMX, and Arm.
_CPU_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})


@dataclass(frozen=True)
class Machine:
    """What decides on number formats."""

    gpu: bool
    bf16: bool
    """The GPU, or else the CPU, multiplies bfloat16 in hardware."""
    fp8: bool = False
    """It is a GPU that multiplies 8-bit floats in hardware."""


@dataclass(frozen=True)
class Precision:
    """`dtype` of the frozen base, and what the trainer's autocast is set to."""

    dtype: Dtype
    autocast: Autocast | None
    float8: bool = False
    """The products with the frozen base are in 8-bit floats, all else in `dtype`."""
    note: str = ""
    """What a user should know: something else than asked for is used."""


def choose_precision(
    machine: Machine,
    *,
    torch_dtype: Dtype,
    fp16: bool = False,
    bf16: bool = False,
    compute: Compute | None = None,
) -> Precision:
    """
    Apply the precedence compute, fp16/bf16, torch_dtype; a CPU has no float16 arithmetic.

    On a CPU nothing is autocast: the base computes in `dtype`, the adapter in float32.

    Raises:
        ConfigError: the machine lacks what was asked for.
    """
    if compute == "fp8" and not machine.fp8:
        raise ConfigError(
            "fp8 is not available here: it takes a GPU of compute capability 8.9 or more",
            where="training.compute",
            hint="Use bf16, or leave training.compute null.",
        )
    dtype = _BY_COMPUTE[compute] if compute else torch_dtype
    autocast: Autocast | None = _AUTOCAST[dtype]
    if compute is None and (fp16 or bf16):
        autocast = "fp16" if fp16 else "bf16"
    if not machine.gpu:
        return _on_cpu(machine, dtype, autocast)
    if "bf16" in (autocast, _AUTOCAST[dtype]) and not machine.bf16:
        raise ConfigError(
            "this GPU has no bfloat16",
            where="training.compute" if compute else "model.torch_dtype",
            hint="Use float16: model.torch_dtype=float16.",
        )
    return Precision(dtype, autocast, float8=compute == "fp8")


def this_machine() -> Machine:
    """Look at the GPU, or else at the CPU's flags."""
    import torch

    if torch.cuda.is_available():
        return Machine(
            gpu=True,
            bf16=torch.cuda.is_bf16_supported(including_emulation=False),
            fp8=torch.cuda.get_device_capability() >= _FLOAT8_CAPABILITY,
        )
    return Machine(gpu=False, bf16=_cpu_has_bf16())


def _on_cpu(machine: Machine, dtype: Dtype, autocast: Autocast | None) -> Precision:
    if dtype == "float32" and autocast is not None:
        # float32 weights under autocast would be cast in every step; the base is kept cast.
        dtype = "float16" if autocast == "fp16" else "bfloat16"
    if dtype != "float16":
        return Precision(dtype, None)
    usable: Dtype = "bfloat16" if machine.bf16 else "float32"
    return Precision(usable, None, note=f"a CPU has no float16 arithmetic: training in {usable}")


def _cpu_has_bf16() -> bool:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return not _CPU_BF16_FLAGS.isdisjoint(value.split())
    return False
