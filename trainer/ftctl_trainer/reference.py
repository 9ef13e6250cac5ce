"""What an export is compared with: log-probabilities of the tuned model on held-out answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftctl.data.example import Message
from ftctl_trainer.data.tokenize import TokenizedRows
from ftctl_trainer.export.nf4 import Nf4
from ftctl_trainer.generate import greedy_answers, stop_token_ids
from ftctl_trainer.model.labels import IGNORED

# Where tokenizers differ: scripts, code, white space, characters outside the basic plane.
PROBE = (
    "The quick brown fox jumps over 13 lazy dogs, doesn't it?",
    "Съешь же ещё этих мягких французских булок, да выпей чаю.",
    'def f(x: int) -> str:\n    return f"{x!r}"  # 0x1F, 1_000\n',
    '{"Content": {"Action": "Talk"}, "MessageText": "Привет!"}',
    "👩‍👩‍👧 🇫🇮 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 — “quotes” … ½ × ≤",
    "  two  spaces,\ttab,\n\nline breaks \r\n and trailing ",
    "漢字とかな交じり文 한국어 العربية ไทย",
    "1234567890 12 345,67 3.14159e-10",
)
_CHATS: tuple[tuple[Message, ...], ...] = (
    (Message(role="user", content="Hello!"),),
    (
        Message(role="user", content="Привет, кто ты?"),
        Message(role="assistant", content="Помощник."),
        Message(role="user", content="What is 2 + 2?"),
    ),
)
SAMPLE_TOKENS = 48


@dataclass(frozen=True)
class Answer:
    """A row up to the end of its last answer, which begins at `first_label`."""

    id: str
    input_ids: list[int]
    first_label: int


@dataclass(frozen=True)
class Keep:
    """What is kept: most likely tokens of a position, and tokens of one greedy answer."""

    top: int
    sample_tokens: int = SAMPLE_TOKENS


def choose_sequences(rows: TokenizedRows, tokens: int) -> list[Answer]:
    """Whole answers, evenly spread over the rows, until they have `tokens` labels."""
    found = [
        sequence
        for number in range(len(rows))
        if (sequence := _last_answer(rows.ids[number], rows.input_ids[number], rows.labels[number]))
    ]
    labels = sum(len(row.input_ids) - row.first_label for row in found)
    wanted = min(len(found), -(-tokens * len(found) // max(labels, 1)))
    spread = [number * len(found) // max(wanted, 1) for number in range(wanted)]
    rest = [number for number in range(len(found)) if number not in set(spread)]
    chosen, have = [], 0
    for number in (*spread, *rest):
        if have >= tokens:
            break
        chosen.append(number)
        have += len(found[number].input_ids) - found[number].first_label
    return [found[number] for number in sorted(chosen)]


def write_reference(
    folder: Path,
    model: Any,
    tokenizer: Any,
    sequences: Sequence[Answer],
    prompts: Sequence[Sequence[Message]],
    *,
    keep: Keep,
    nf4: Nf4 | None = None,
    on_row: Callable[[], None] = lambda: None,
) -> None:
    """
    Write reference.json and reference.safetensors.

    Args:
        model: PEFT model over the base that is merged onto; switched off, it gives the base's
            numbers.
        prompts: conversations of the data set, whose rendered text the export must match.
        nf4: what of the base is quantized; None: it is whole.
        on_row: called before each row; may raise to end early.
    """
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    model.eval()
    parts: dict[str, list[Any]] = {}
    with torch.inference_mode():
        for row in sequences:
            on_row()
            for name, tensor in _compare(model, row, keep.top).items():
                parts.setdefault(name, []).append(tensor.cpu())
    tensors = {name: torch.cat(rows).contiguous() for name, rows in parts.items()}
    save_file(tensors, folder / "reference.safetensors", metadata={"format": "pt"})
    text = {
        "merge_base": "nf4" if nf4 else "full",
        "nf4": nf4 and nf4.model_dump(),
        "sequences": [vars(row) for row in sequences],
        "probe": [{"text": text, "ids": _ids(tokenizer, text)} for text in PROBE],
        "chat": _chats(tokenizer, [*_CHATS, *prompts]),
        "sample": _sample(model, tokenizer, sequences[0], keep.sample_tokens),
    }
    body = json.dumps(text, ensure_ascii=False, indent=1)
    (folder / "reference.json").write_text(body, encoding="utf-8")


def _compare(model: Any, row: Answer, top: int) -> dict[str, Any]:
    """Log-probabilities in nats at the row's answer; one line a token."""
    import torch

    device = next(model.parameters()).device
    ids = torch.tensor([row.input_ids], device=device)
    labels = ids[0, row.first_label :]

    def log_probs() -> Any:
        logits = model(input_ids=ids, use_cache=False).logits[0, row.first_label - 1 : -1]
        return torch.log_softmax(logits.float(), dim=-1)

    tuned = log_probs()
    with model.disable_adapter():
        base = log_probs()
    best = tuned.topk(min(top, tuned.shape[-1]), dim=-1)
    column = labels.unsqueeze(1)
    return {
        "label": labels.to(torch.int32),
        "label_logprob": tuned.gather(1, column).squeeze(1),
        "top_ids": best.indices.to(torch.int32),
        "top_logprobs": best.values,
        "base_label_logprob": base.gather(1, column).squeeze(1),
        "base_top_logprobs": base.gather(1, best.indices),
    }


def _last_answer(row_id: str, ids: list[int], labels: list[int]) -> Answer | None:
    end = len(labels)
    while end and labels[end - 1] == IGNORED:
        end -= 1
    first = end
    while first and labels[first - 1] != IGNORED:
        first -= 1
    first = max(first, 1)  # nothing predicts a row's first token
    return Answer(row_id, ids[:end], first) if first < end else None


def _chats(tokenizer: Any, chats: Sequence[Sequence[Message]]) -> list[dict[str, Any]]:
    import jinja2

    rendered = []
    for chat in chats:
        messages = [message.model_dump() for message in chat]
        try:
            text = tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
        except jinja2.TemplateError:
            continue  # the template refuses such turns; the export need not render them either
        rendered.append({"messages": messages, "text": text})
    return rendered


def _sample(model: Any, tokenizer: Any, row: Answer, tokens: int) -> dict[str, Any]:
    prompt = row.input_ids[: row.first_label]
    [ids] = greedy_answers(
        model,
        [prompt],
        max_new_tokens=tokens,
        batch_size=1,
        stop_ids=stop_token_ids(model, tokenizer, [row.input_ids]),
        pad_id=tokenizer.pad_token_id,
    )
    return {"prompt_ids": prompt, "ids": ids, "text": tokenizer.decode(ids)}


def _ids(tokenizer: Any, text: str) -> list[int]:
    return [int(token) for token in tokenizer(text, add_special_tokens=False)["input_ids"]]
