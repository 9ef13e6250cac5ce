"""A base of any size that takes little disk, and an adapter: for benchmarks of the export."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from benchmarks.generated_llama import save_known_tokenizer
from safetensors.numpy import save_file

from tests.integration.tiny_model import make_tiny_model

RANK = 16
_SHARD_BYTES = 2 * 10**9
_MIB = 2**20


def write_base(folder: Path, shape: dict[str, int]) -> Path:
    """A llama in bfloat16, in sparse files; the tokenizer is a small one."""
    make_tiny_model(folder)
    (folder / "model.safetensors").unlink()
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "hidden_size": shape["hidden"], "intermediate_size": shape["inner"],
        "num_hidden_layers": shape["layers"], "num_attention_heads": shape["heads"],
        "num_key_value_heads": shape["kv"], "head_dim": shape["hidden"] // shape["heads"],
        "vocab_size": shape["vocabulary"], "tie_word_embeddings": False, "dtype": "bfloat16",
    }  # fmt: skip
    if "experts" in shape:
        config |= {
            "architectures": ["MixtralForCausalLM"], "model_type": "mixtral",
            "num_local_experts": shape["experts"], "num_experts_per_tok": 2,
        }  # fmt: skip
        save_known_tokenizer(folder)
    (folder / "config.json").write_text(json.dumps(config))
    shards: list[dict[str, tuple[int, ...]]] = [{}]
    for name, size in _tensors(shape):
        if sum(_bytes(s) for s in shards[-1].values()) + _bytes(size) > _SHARD_BYTES and shards[-1]:
            shards.append({})
        shards[-1][name] = size
    weights: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        _write_sparse(folder / file, dict(sorted(shard.items())))
        weights |= dict.fromkeys(shard, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))
    return folder


def write_adapter(folder: Path, shape: dict[str, int]) -> None:
    """A random LoRA adapter on all projections (none of the experts'), in float32."""
    folder.mkdir()
    random = np.random.default_rng(0)
    tensors = {}
    for name, (outputs, inputs) in (t for t in _tensors(shape) if "proj" in t[0]):
        key = f"base_model.model.{name.removesuffix('.weight')}"
        for part, size in (("lora_A", (RANK, inputs)), ("lora_B", (outputs, RANK))):
            values = random.standard_normal(size, dtype=np.float32)
            tensors[f"{key}.{part}.weight"] = values * np.float32(0.01)
    save_file(tensors, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": RANK, "lora_alpha": 2 * RANK}
    (folder / "adapter_config.json").write_text(json.dumps(settings))


def _tensors(shape: dict[str, int]) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden, inner = shape["hidden"], shape["inner"]
    kv = hidden // shape["heads"] * shape["kv"]
    yield "model.embed_tokens.weight", (shape["vocabulary"], hidden)
    for layer in range(shape["layers"]):
        at = f"model.layers.{layer}"
        for norm in ("input", "post_attention"):
            yield f"{at}.{norm}_layernorm.weight", (hidden,)
        for part, rows in (("q", hidden), ("k", kv), ("v", kv), ("o", hidden)):
            yield f"{at}.self_attn.{part}_proj.weight", (rows, hidden)
        if "experts" in shape:
            yield f"{at}.block_sparse_moe.gate.weight", (shape["experts"], hidden)
            for expert in range(shape["experts"]):
                for part, size in (("w1", (inner, hidden)), ("w2", (hidden, inner)),
                                   ("w3", (inner, hidden))):  # fmt: skip
                    yield f"{at}.block_sparse_moe.experts.{expert}.{part}.weight", size
            continue
        for part, size in (("gate", (inner, hidden)), ("up", (inner, hidden)),
                           ("down", (hidden, inner))):  # fmt: skip
            yield f"{at}.mlp.{part}_proj.weight", size
    yield "model.norm.weight", (hidden,)
    yield "lm_head.weight", (shape["vocabulary"], hidden)


def _bytes(size: tuple[int, ...]) -> int:
    return 2 * int(np.prod(size, dtype=np.int64))


def _write_sparse(file: Path, tensors: dict[str, tuple[int, ...]]) -> None:
    """64 KiB of random bfloat16 at each MiB, holes between."""
    header, offset = {}, 0
    for name, size in tensors.items():
        end = offset + _bytes(size)
        header[name] = {"dtype": "BF16", "shape": list(size), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    values = 0.02 * np.random.default_rng(offset).standard_normal(32768, dtype=np.float32)
    block = (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for start in range(0, offset - len(block), _MIB):
            stream.seek(8 + len(text) + start)
            stream.write(block)
        stream.truncate(8 + len(text) + offset)
