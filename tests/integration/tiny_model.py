"""A real language model of a few hundred kilobytes: llama architecture, byte-level BPE, ChatML."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

IM_START, IM_END, END_OF_TEXT = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
ACTIONS = ("LightsOn", "LightsOff", "PlayMusic", "LockDoor")
REQUESTS = {
    "LightsOn": (
        "it is dark here",
        "switch on the lamp",
        "more light in the hall",
        "darkness again",
    ),
    "LightsOff": ("too bright for me", "lamp out please", "no light needed", "we sleep now"),
    "PlayMusic": ("some jazz please", "a song by Bach", "let us dance", "put on the radio"),
    "LockDoor": ("bolt the gate", "we are leaving", "close up for the night", "turn the key"),
}


def make_tiny_model(folder: Path, *, vocabulary: int = 384, hidden: int = 64) -> Path:
    """
    Save a two-layer llama with random weights (seed 0) and a tokenizer trained on a few lines.

    The same folder content every time. Its shapes fit llama.cpp's 32-wide quantization blocks.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = save_tokenizer(folder, vocabulary)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    return folder


def save_tokenizer(folder: Path, vocabulary: int = 384) -> Any:
    """Save a byte-level tokenizer trained on a few lines, and return it."""
    tokenizer = _tokenizer(vocabulary)
    tokenizer.save_pretrained(folder)
    return tokenizer


def action_rows(count: int, *, first: int = 0) -> list[dict[str, object]]:
    """Rows of the `actions` format as canonical examples: four actions, no request twice."""
    rows: list[dict[str, object]] = []
    for number in range(first, first + count):
        action = ACTIONS[number % len(ACTIONS)]
        wording = REQUESTS[action][number // len(ACTIONS) % len(REQUESTS[action])]
        rows.append(
            {
                "id": f"row-{number}",
                "system": "Answer with one action.",
                "prompt": {"actions": list(ACTIONS), "user_input": f"{wording} {number}"},
                "answer": {"MessageText": "Done.", "Content": {"Action": action}},
            }
        )
    return rows


def write_jsonl(path: Path, rows: list[dict[str, object]]) -> Path:
    """Write canonical JSONL, one row a line."""
    lines = (
        json.dumps(row, ensure_ascii=False, sort_keys=True, separators=(",", ":")) for row in rows
    )
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def _tokenizer(vocabulary: int):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    # GPT-2's own splitting, which llama.cpp knows as "gpt-2".
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT, IM_START, IM_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(_corpus(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=IM_START,
        eos_token=IM_END,
        pad_token=END_OF_TEXT,
        unk_token=END_OF_TEXT,
        chat_template=CHAT_TEMPLATE,
        model_max_length=512,
    )


def _corpus() -> list[str]:
    answers = [
        json.dumps({"MessageText": "Done.", "Content": {"Action": action}}) for action in ACTIONS
    ]
    requests = [wording for wordings in REQUESTS.values() for wording in wordings]
    prompt = "system Answer with one action. user Available actions: " + ", ".join(ACTIONS)
    return [prompt, "assistant", *answers, *requests, "свет музыка дверь привет"]
