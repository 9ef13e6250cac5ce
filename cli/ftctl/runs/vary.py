"""Another run from one that is prepared, by changing keys: no file is read again for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftctl.contract.names import run_id
from ftctl.contract.runfile import RunFile
from ftctl.contract.spec import Config
from ftctl.errors import ConfigError
from ftctl.runs.prepare import digest_of

# What these change is found or read when a run is prepared.
_LOOKED_UP = frozenset(
    {
        "model.model_name",
        "model.revision",
        "model.dataset_name",
        "model.new_model",
        "model.init_adapter",
        "training.method",
        "grpo.train_data",
        "grpo.val_data",
        "grpo.rewards",
    }
)
_SECTIONS = frozenset({"model", "training", "dpo", "orpo", "kto", "grpo", "quantize"})


def can_vary(key: str) -> bool:
    """Whether a run with another value of a key has the same model, rows and layout."""
    section, _, rest = key.partition(".")
    return bool(rest) and section in _SECTIONS and key not in _LOOKED_UP


def varied(base: RunFile, values: Mapping[str, Any]) -> RunFile:
    """
    The run with other values, under the id that preparing it would give it.

    Args:
        values: dotted keys of which `can_vary` is true, and plain values.
    Raises:
        ConfigError: a value is not one the key may have.
    """
    from pydantic import ValidationError

    tree = base.config.model_dump(mode="json")
    for key, value in values.items():
        *sections, last = key.split(".")
        node = tree
        for section in sections:
            node = node[section]
        node[last] = value
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        told = ", ".join(f"{key}={value}" for key, value in values.items())
        raise ConfigError(first["msg"], where=where or told, hint=f"In the child {told}.") from None
    digest = digest_of(
        config,
        model=base.model,
        data=base.data,
        template=base.template,
        rewards=base.reward_files,
        adapter=base.init_adapter,
        nonce=base.nonce,
    )
    name = base.run_id.rpartition("-")[0]
    update = {"run_id": run_id(name, digest), "content_hash": digest, "config": config}
    return base.model_copy(update={**update, "created": None})
