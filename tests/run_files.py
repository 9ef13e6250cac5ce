"""A run as `prepare` makes it, for tests of what is made of it."""

from __future__ import annotations

from typing import Any

from ftctl.contract.lineage import DatasetRecord
from ftctl.contract.runfile import ModelSource, RunFile
from ftctl.contract.spec import Config
from ftctl.contract.status import now

RUN_ID = "demo-0123456789ab"
HASH = "0123456789ab" + "c" * 52
DATA = "d" * 64
HUB_MODEL = ModelSource(name="org/model", kind="hub", revision="e" * 40)

# The config.json of a llama of 8.04B weights.
LLAMA_8B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 129_024,
    "tie_word_embeddings": False,
}


def a_run(
    *, run_id: str = RUN_ID, source: ModelSource = HUB_MODEL, **sections: dict[str, Any]
) -> RunFile:
    """
    A run in s3://bucket/runs, made of a configuration that differs from the defaults by `sections`.
    """
    storage = {"url": "s3://bucket/runs", **sections.pop("storage", {})}
    return RunFile(
        run_id=run_id,
        content_hash=HASH,
        model=source,
        data=DatasetRecord(
            digest=DATA, splits={"train": "f" * 64}, rows={"train": 3}, sources=["data/train.json"]
        ),
        template="{{ user_input }}",
        created=now(),
        config=Config.model_validate({**sections, "storage": storage}),
    )
