"""The adapter alone as a GGUF, by llama.cpp's own convert_lora_to_gguf.py."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ftctl.contract.exportable import WITH_LORA, lora_tool
from ftctl.errors import ConfigError, RunFailedError
from ftctl_trainer.export.adapter import Adapter, Lora, read_adapter
from ftctl_trainer.export.gguf import export
from ftctl_trainer.export.inputs import Inputs
from ftctl_trainer.export.tools import Tools, run_tool

_WEIGHTS, _SETTINGS = "adapter_model.safetensors", "adapter_config.json"


def check_adapter_tool(tools: Tools | None) -> None:
    """Raise ConfigError where convert_lora_to_gguf.py is not there."""
    if tools is None or not lora_tool(tools.converter).is_file():
        raise ConfigError(
            "a GGUF of the adapter needs llama.cpp's own convert_lora_to_gguf.py, which is not "
            "there",
            where="quantize.adapter_gguf",
            hint=WITH_LORA,
        )


def write_adapter_gguf(
    tools: Tools, inputs: Inputs, target: Path, scratch: Path, stop: threading.Event
) -> None:
    """
    Convert an adapter, in float16.

    llama.cpp scales every update by alpha / r with one alpha for all: where a module has another
    scale (rsLoRA, patterns), its B is multiplied by the quotient.

    Args:
        scratch: a folder for a copy of the adapter.
    Raises:
        RunFailedError: it is more than plain LoRA, or the converter fails.
    """
    adapter = read_adapter(inputs.adapter)
    _refuse_more(adapter, inputs.adapter)
    alpha = next(_alpha(lora) for lora in adapter.updates.values())
    # Their names get into the metadata.
    lora, base = scratch / inputs.name, scratch / "base"
    _write_lora(adapter, lora, alpha, lambda update: _alpha(update) / alpha)
    # Of the base only its settings are read; shards that lie beside them would be looked at.
    base.mkdir()
    shutil.copyfile(inputs.base / "config.json", base / "config.json")
    run_tool(
        [sys.executable, str(lora_tool(tools.converter)), str(lora), "--base", str(base),
         "--outfile", str(target), "--outtype", "f16"],
        stop,
    )  # fmt: skip
    shutil.rmtree(lora)


def write_base_gguf(
    tools: Tools,
    inputs: Inputs,
    target: Path,
    scratch: Path,
    threads: int,
    stop: threading.Event,
) -> None:
    """Write the base as an F16 GGUF: the export of an adapter whose every B is zero."""
    adapter = read_adapter(inputs.adapter)
    # With the tokenizer as it was trained with.
    still = scratch / "still"
    shutil.copytree(inputs.adapter, still, ignore=shutil.ignore_patterns(_WEIGHTS))
    _write_lora(adapter, still, 1.0, lambda _: 0.0)
    export(
        replace(inputs, adapter=still), {"f16": target},
        tools=tools, scratch=scratch, threads=threads, stop=stop,
    )  # fmt: skip


def _refuse_more(adapter: Adapter, folder: Path) -> None:
    plain = all(not lora.transposed and lora.magnitude is None for lora in adapter.updates.values())
    if adapter.replaced or adapter.tokens or not adapter.updates or not plain:
        raise RunFailedError(
            "the adapter is more than plain LoRA of linear layers, which is all that a GGUF of an "
            "adapter holds",
            where=str(folder),
            hint="Set model.modules_to_save=[], or quantize.adapter_gguf=false.",
        )


def _alpha(lora: Lora) -> float:
    return lora.scale * lora.a.shape[0]


def _write_lora(
    adapter: Adapter, folder: Path, alpha: float, factor: Callable[[Lora], float]
) -> None:
    """Save a PEFT adapter whose updates have one alpha, each B multiplied by a factor."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = {}
    for name, lora in adapter.updates.items():
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        weights[f"{stem}.lora_A.weight"] = lora.a.load()
        weights[f"{stem}.lora_B.weight"] = lora.b.load() * factor(lora)
    save_file(weights, folder / _WEIGHTS)
    ranks = {
        name.removesuffix(".weight"): lora.a.shape[0] for name, lora in adapter.updates.items()
    }
    settings = {
        "peft_type": "LORA",
        "r": next(iter(ranks.values())),
        "rank_pattern": ranks,
        "lora_alpha": alpha,
    }
    (folder / _SETTINGS).write_text(json.dumps(settings), encoding="utf-8")
