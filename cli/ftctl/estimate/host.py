"""Memory outside the GPU, and disk, of both stages."""

from __future__ import annotations

import math

from ftctl.contract.spec import Config
from ftctl.estimate.activations import main_memory_bytes
from ftctl.estimate.architecture import Architecture
from ftctl.estimate.load import Load
from ftctl.estimate.memory import LIBRARIES_BYTES, forward_of
from ftctl.estimate.trained import FLOAT32, state_bytes, trained_weights

GIB = 2**30
# Of the main memory that is free when training begins, for what layers keep there: checkpoints,
# rows and libraries want some of it too (trainer/ftctl_trainer/model/fast/plan.py).
MAIN_SHARE = 0.75
# CUDA's libraries and pinned buffers beside PyTorch's own.
_CUDA_HOST_BYTES = 3 * GIB
# Shards are mapped and copied one after the other.
_SHARD_BYTES = 5 * 10**9
# Checkpoints on their way to the store: one written, one uploaded, two that wait
# (trainer/ftctl_trainer/checkpoints.py).
_CHECKPOINTS = 4
# Where 16 bits are stored, also of a model that was unpacked from a GGUF.
_STORED_BYTES = 2
# Families whose export needs no file in between (trainer/ftctl_trainer/export/llama_family.py).
_ONE_PASS = ("llama", "mistral")
# Logs, tokenizer, reference, reports.
_SMALL_BYTES = GIB // 4

# Bits a weight of a whole file: block sizes of ggml, and for mixed types what llama-quantize
# reports of an 8B llama (llama.cpp, tools/quantize/README.md).
_BITS = {
    "f32": 32.0, "f16": 16.0, "bf16": 16.0, "q8_0": 8.5, "q6_k": 6.57, "q5_0": 5.6, "q5_1": 6.1,
    "q5_k_s": 5.57, "q5_k_m": 5.7, "q4_0": 4.7, "q4_1": 5.1, "q4_k_s": 4.67, "q4_k_m": 4.9,
    "iq4_nl": 4.7, "iq4_xs": 4.46, "mxfp4_moe": 4.7, "q3_k_s": 3.65, "q3_k_m": 4.0, "q3_k_l": 4.3,
    "iq3_xxs": 3.26, "iq3_xs": 3.5, "iq3_s": 3.67, "iq3_m": 3.77, "q2_k": 3.16, "q2_k_s": 2.97,
    "iq2_xxs": 2.39, "iq2_xs": 2.59, "iq2_s": 2.75, "iq2_m": 2.93, "iq1_s": 2.01, "iq1_m": 2.15,
    "tq1_0": 2.1, "tq2_0": 2.4,
}  # fmt: skip


def gguf_bytes(shape: Architecture, qtype: str) -> int:
    """Size of an exported file, within a tenth; of small models the embedding weighs more."""
    return file_bytes(shape.parameters, qtype)


def file_bytes(parameters: int, qtype: str) -> int:
    """The same of so many weights."""
    return round(parameters * _BITS[qtype] / 8)


def train_host(shape: Architecture, config: Config, load: Load) -> dict[str, int]:
    """Memory of one process of the train stage outside its GPU."""
    parts = {
        "libraries": LIBRARIES_BYTES + _CUDA_HOST_BYTES,
        "weights being loaded": min(_SHARD_BYTES, _STORED_BYTES * shape.parameters),
        "checkpoint being saved": _checkpoint(shape, config),
    }
    forward = forward_of(shape, config)
    if forward.kernels == "fast" and forward.offloads:
        parts["activations"] = main_memory_bytes(shape, load.tokens, forward)
        # Where less is free, the trainer takes less for them.
        parts["free beside activations"] = math.ceil(parts["activations"] * (1 / MAIN_SHARE - 1))
    return parts


def reference_host(shape: Architecture) -> dict[str, int]:
    """The base as it is stored, for the reference, where no GPU has room for it."""
    return {"base, whole": _STORED_BYTES * shape.parameters}


def convert_host(shape: Architecture, config: Config) -> dict[str, int]:
    """
    Memory of the convert stage.

    One tensor at a time is merged in float32, which takes it twice; then each file is run by
    llama.cpp, whose pages of the file could be dropped, slowly.
    """
    largest = max(shape.embedding_weights, *(item.weights for item in shape.linears))
    files = [gguf_bytes(shape, qtype) for qtype in config.model.qtypes]
    # Where answers have no limit of their own, none is longer than a row.
    answer = config.testing.max_new_tokens or config.training.max_seq_length
    context = config.training.max_seq_length + answer
    cache = 2 * 2 * context * shape.layers * shape.kv_size
    return {
        "libraries": LIBRARIES_BYTES,
        "largest tensor, or the file in llama.cpp": max(2 * FLOAT32 * largest, *files),
        "key-value cache": cache,
    }


def train_disk(shape: Architecture, config: Config, *, gguf: int | None) -> dict[str, int]:
    """Disk of the train stage; `gguf` is the size of a base that is a GGUF file."""
    trained = trained_weights(shape, config.model)
    return _base(shape, config, gguf) | {
        "checkpoints": _CHECKPOINTS * _checkpoint(shape, config),
        "adapter": FLOAT32 * trained.weights,
        "logs and reference": _SMALL_BYTES,
    }


def convert_disk(shape: Architecture, config: Config, *, gguf: int | None) -> dict[str, int]:
    """Disk of the convert stage."""
    trained = trained_weights(shape, config.model)
    # Both are there until they have been compared.
    bases = 2 if config.quantize.merge_base == "best" else 1
    files = {f"GGUF {qtype}": bases * gguf_bytes(shape, qtype) for qtype in config.model.qtypes}
    between = {}
    if shape.family not in _ONE_PASS:
        between = {"merged model and its GGUF": 2 * _STORED_BYTES * shape.parameters}
    if config.quantize.adapter_gguf:
        between["base as F16, for the adapter's proof"] = gguf_bytes(shape, "f16")
    if config.quantize.save_merged:
        between["merged model, a shard"] = min(_SHARD_BYTES, _STORED_BYTES * shape.parameters)
    return (
        _base(shape, config, gguf)
        | files
        | between
        | {
            "adapter": FLOAT32 * trained.weights,
            "logs and reference": _SMALL_BYTES,
        }
    )


def _base(shape: Architecture, config: Config, gguf: int | None) -> dict[str, int]:
    """The base model, where no volume keeps it."""
    if config.cluster.cache.kind != "none":
        return {}
    packed = {} if gguf is None else {"base model, packed": gguf}
    return {"base model": _STORED_BYTES * shape.parameters, **packed}


def _checkpoint(shape: Architecture, config: Config) -> int:
    """Weights and optimizer state of what is trained."""
    trained = trained_weights(shape, config.model)
    state = state_bytes(config.training.optim, gpu=config.cluster.gpus > 0)
    return round((FLOAT32 + state) * trained.weights)
