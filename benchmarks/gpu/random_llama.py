"""
A llama of 8 billion random weights with a tokenizer of single bytes, to train at full size.

usage: random_llama.py FOLDER

The shape is YandexGPT-5-Lite's and, but for the vocabulary, Llama 3.1's. Needs a GPU with 20 GB.
"""

from __future__ import annotations

import sys
from pathlib import Path

SHAPE = {
    "vocab_size": 129024,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
}


def save(folder: Path, **changes: int) -> None:
    """Save the model in bfloat16; `changes` are to SHAPE."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        **(SHAPE | changes),
        max_position_embeddings=32768,
        rope_theta=500000.0,
        tie_word_embeddings=False,
        bos_token_id=256,
        eos_token_id=257,
        pad_token_id=258,
    )
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = LlamaForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder, max_shard_size="4GB")
    save_tokenizer(folder)


def save_tokenizer(folder: Path) -> None:
    """Save a tokenizer to which every byte is a token, so that lengths of texts are known."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    bytes_ = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*bytes_, "<s>", "</s>", "<pad>"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        chat_template="{% for message in messages %}"
        "{{ message['role'] + ':' + message['content'] + '</s>' }}{% endfor %}",
    ).save_pretrained(folder)


if __name__ == "__main__":
    save(Path(sys.argv[1]))
