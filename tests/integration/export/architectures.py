"""A small random model and adapter of many architectures: shapes that fit every kind of block."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from ftctl_trainer.export.tensors import read_folder
from tests.integration.tiny_model import save_tokenizer

# Heads of 64: gemma and phi want it to be hidden / heads or set apart.
_COMMON: dict[str, Any] = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
_EXPERTS: dict[str, Any] = {
    "moe_intermediate_size": 256,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "decoder_sparse_step": 1,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "llama": {"tie_word_embeddings": False},
    "mistral": {"sliding_window": None, "head_dim": 64},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen2": {"tie_word_embeddings": True},
    "qwen2_moe": {**_EXPERTS, "shared_expert_intermediate_size": 256},
    "qwen3": {"head_dim": 64},
    "qwen3_moe": {**_EXPERTS, "head_dim": 64},
    "gemma2": {"head_dim": 64, "query_pre_attn_scalar": 64},
    "gemma3_text": {"head_dim": 64, "query_pre_attn_scalar": 64},
    "phi3": {"pad_token_id": 0},
    "granite": {},
    "olmo2": {},
    "gpt_oss": {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 64},
    "glm4": {"head_dim": 64, "pad_token_id": 0},
    "cohere2": {"head_dim": 64, "rotary_pct": 1.0},
    "deepseek_v2": {
        "num_key_value_heads": 4,
        "q_lora_rank": 256,
        "kv_lora_rank": 256,
        "qk_rope_head_dim": 64,
        "qk_nope_head_dim": 64,
        "v_head_dim": 64,
        "n_routed_experts": 4,
        "n_shared_experts": 1,
        "moe_intermediate_size": 256,
        "num_experts_per_tok": 2,
        "first_k_dense_replace": 1,
    },
}
# The converter takes these models' tokenizers from tokenizer.model alone.
_SENTENCEPIECE = ("gemma2", "gemma3_text", "phi3")
# And this one's class wants tokens by name.
_TOKENS = {"glm4": ["<|user|>", "<|observation|>"]}
_TARGETS = (
    "q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj", "gate_up_proj", "down_proj",
    "q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj",
)  # fmt: skip


def make_model(architecture: str, folder: Path) -> Path:
    """Save a random model (seed 0) of transformers' `architecture`, with a byte-level tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    tokenizer = save_tokenizer(folder)
    if tokenizer.add_tokens(_TOKENS.get(architecture, []), special_tokens=True):
        tokenizer.save_pretrained(folder)
    if architecture in _SENTENCEPIECE:
        (folder / "tokenizer.model").write_bytes(_sentencepiece(len(tokenizer)))
    config = AutoConfig.for_model(
        architecture,
        **{
            **_COMMON,
            "vocab_size": len(tokenizer),
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "dtype": "float32",
            **SETTINGS[architecture],
        },
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def make_lora(base: Path, folder: Path, *, rank: int = 4) -> Path:
    """Save a random LoRA (seed 1) of every matrix of attention and dense layers, as PEFT does."""
    rng = np.random.default_rng(1)
    tensors = {}
    for name, tensor in read_folder(base).items():
        module = name.removesuffix(".weight")
        if len(tensor.shape) == 2 and module.endswith(_TARGETS):
            for part, shape in (("A", (rank, tensor.shape[1])), ("B", (tensor.shape[0], rank))):
                values = 0.1 * rng.standard_normal(shape, np.float32)
                tensors[f"base_model.model.{module}.lora_{part}.weight"] = values
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder


def _sentencepiece(pieces: int) -> bytes:
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["light off", "music on", "lock the door", "свет и музыка"]),
        model_writer=model,
        model_type="bpe",
        vocab_size=pieces,
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return model.getvalue()
