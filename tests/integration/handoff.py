"""What a train stage leaves: an adapter, and what the tuned model says to reference tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PROBE = (
    "Turn on the lamp!",
    "Привет, мир",
    "def f(x):\n    return x  # 42",
    "😀 café\t  x",
    "1234",
)
CHAT = (
    [{"role": "user", "content": "it is dark here"}],
    [
        {"role": "system", "content": "Answer with one action."},
        {"role": "user", "content": "some jazz please"},
    ],
)


def make_adapter(base: Path, folder: Path, *, spread: float = 0.5, **lora: Any) -> Path:
    """Save a LoRA adapter with random weights (seed 1), strong enough to change every answer."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    settings = {
        "r": 4,
        "lora_alpha": 8,
        "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj"],
        "task_type": "CAUSAL_LM",
    }
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        tuned = get_peft_model(model, LoraConfig(**{**settings, **lora}))
        for name, weight in tuned.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(weight, std=spread / weight.shape[0] ** 0.5)
            elif weight.requires_grad:
                weight.data += 0.02 * torch.randn_like(weight)
    tuned.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder


def make_reference(
    base: Path, adapter: Path, folder: Path, texts: list[tuple[str, str]], *, top: int = 64
) -> Path:
    """
    Score (prompt, answer) texts by the base with and without the adapter, in float32.

    Writes reference.json and reference.safetensors as the train stage does.
    """
    import torch
    from peft import PeftModel
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(adapter)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    tuned = PeftModel.from_pretrained(model, adapter).eval()
    sequences, rows = [], []
    for number, (prompt, answer) in enumerate(texts):
        first = len(tokenizer(prompt)["input_ids"])
        ids = tokenizer(prompt + answer)["input_ids"]
        sequences.append({"id": f"row-{number}", "input_ids": ids, "first_label": first})
        with torch.no_grad():
            ours = tuned(torch.tensor([ids])).logits[0, first - 1 : -1].log_softmax(-1)
            with tuned.disable_adapter():
                theirs = tuned(torch.tensor([ids])).logits[0, first - 1 : -1].log_softmax(-1)
        labels = torch.tensor(ids[first:])
        best = ours.topk(top)
        rows.append(
            {
                "label": labels.int(),
                "label_logprob": ours.gather(1, labels[:, None])[:, 0],
                "top_ids": best.indices.int(),
                "top_logprobs": best.values,
                "base_label_logprob": theirs.gather(1, labels[:, None])[:, 0],
                "base_top_logprobs": theirs.gather(1, best.indices),
            }
        )
    folder.mkdir(parents=True)
    whole = {name: torch.cat([row[name] for row in rows]).contiguous() for name in rows[0]}
    save_file(whole, folder / "reference.safetensors")
    text = {
        "merge_base": "full",
        "sequences": sequences,
        "probe": [
            {"text": text, "ids": tokenizer(text, add_special_tokens=False)["input_ids"]}
            for text in PROBE
        ],
        "chat": [{"messages": list(chat), "text": _render(tokenizer, chat)} for chat in CHAT],
        "sample": _sample(tuned, tokenizer),
    }
    (folder / "reference.json").write_text(json.dumps(text, ensure_ascii=False), encoding="utf-8")
    return folder


def _render(tokenizer: Any, chat: list[dict[str, str]]) -> str:
    return str(tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True))


def _sample(tuned: Any, tokenizer: Any) -> dict[str, Any]:
    import torch

    prompt = tokenizer(_render(tokenizer, CHAT[0]))["input_ids"]
    made = tuned.generate(
        input_ids=torch.tensor([prompt]), max_new_tokens=16, do_sample=False,
        attention_mask=torch.ones(1, len(prompt)),
    )  # fmt: skip
    ids = made[0, len(prompt) :].tolist()
    return {"prompt_ids": prompt, "ids": ids, "text": tokenizer.decode(ids)}
