"""A run is named by its content: the hash of all that decides the result, and of nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ftctl.contract.spec import Config

# Raised only when the same inputs would give another result.
PIPELINE = 3

_OPERATIONAL = ("cluster", "storage", "tracking", "publish", "paths", "other", "name")
# Within the deciding sections: data files (their digest counts instead), and how often to log.
_OUTSIDE: dict[str, tuple[str, ...]] = {
    "model": ("model_name", "revision", "dataset_name", "new_model", "init_adapter"),
    "training": ("logging_steps", "save_total_limit", "gradient_checkpointing"),
    "grpo": ("train_data", "val_data"),
    "dataset": ("train", "eval", "format", "eval_fraction", "max_bad", "limit"),
    "testing": ("test_dataset", "output_test_file", "batch_size"),
}
# Keys that came after the first runs: at their defaults they are left out, so that those runs
# keep their names.
_LATER: dict[str, tuple[str, ...]] = {
    "model": ("use_rslora", "use_dora"),
    "training": ("early_stopping", "loraplus_ratio"),
    "quantize": ("adapter_gguf",),
}


def deciding(
    config: Config,
    *,
    model: str | None,
    revision: str,
    data_digest: str,
    template: str,
    reward_files: Mapping[str, str] | None = None,
    init_adapter: str | None = None,
    nonce: str | None = None,
) -> dict[str, Any]:
    """
    Everything that decides a run's result, as plain JSON values.

    Args:
        model: hub id; None for a local model, which is known by its content alone.
        revision: hub commit, or sha256 of a local model's files.
        data_digest: digest of the data set.
        template: text of the prompt layout.
        reward_files: texts of the files that grpo.rewards names, by these names.
        init_adapter: sha256 of the adapter that the run goes on from.
        nonce: makes a second run of the same inputs (`--new`).
    """
    sections = config.model_dump(mode="json", exclude=set(_OPERATIONAL))
    for section, keys in _OUTSIDE.items():
        for key in keys:
            sections[section].pop(key)
    for section, keys in _LATER.items():
        for key in keys:
            if sections[section][key] in (None, False):
                sections[section].pop(key)
    # Limits of types that are not exported decide nothing.
    limits = sections["quantize"]["verify"]["thresholds"]
    sections["quantize"]["verify"]["thresholds"] = {
        qtype: limits[qtype] for qtype in config.model.qtypes if qtype in limits
    }
    method = config.training.method
    for other in {"dpo", "orpo", "kto", "grpo"} - {method}:
        sections.pop(other)
    if reward_files:
        sections["grpo"]["files"] = {
            name: hashlib.sha256(text.encode()).hexdigest() for name, text in reward_files.items()
        }
    if init_adapter:
        sections["model"]["init_adapter"] = init_adapter
    return {
        "pipeline": PIPELINE,
        "model_name": model,
        "revision": revision,
        "data": data_digest,
        "template": hashlib.sha256(template.encode()).hexdigest(),
        "nonce": nonce,
        **sections,
    }


def content_hash(inputs: dict[str, Any]) -> str:
    """sha256 over canonical JSON: sorted keys, no white space, UTF-8. 64 hex digits."""
    canonical = json.dumps(
        inputs, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(canonical.encode()).hexdigest()
