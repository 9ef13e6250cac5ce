"""
Whether the fast layers, in bfloat16 and with 8-bit products, learn as transformers' own do.

usage: python -m benchmarks.gpu.learn MODEL.gguf [--steps N]

Fine-tunes a small pretrained model in three ways on each of two texts: the quickstart's chats, and
the reference of the Python language, as every Python carries it, in rows of 256 tokens. The same
rows in the same order, the same first adapter; NF4 base, rank 16, 8 rows a step. Prints held-out
losses, the curves, and the angles between gradients, layer by layer, at the end of the second.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import torch
from benchmarks.gpu.check import cosine, error, say, tuned

from ftctl.config.compose import compose
from ftctl.contract.checksum import file_sha256
from ftctl.data.dataset import load_dataset
from ftctl.data.templates import load_template
from ftctl.resources import template_dirs
from ftctl_trainer.data.collator import Collator, EndToEndCollator
from ftctl_trainer.data.template import PromptTemplate
from ftctl_trainer.data.tokenize import tokenize_rows
from ftctl_trainer.model.fast.install import fast_model, install
from ftctl_trainer.model.gguf_cache import unpacked_gguf
from ftctl_trainer.model.labels import label_loss_sum, mean_label_loss
from ftctl_trainer.model.load import load_tokenizer
from ftctl_trainer.model.lora import trainable

Row = Mapping[str, Sequence[int]]
WAYS = ("plain", "fast", "fp8")
ROWS_OF_STEP, ROW_TOKENS, WARMUP = 8, 256, 10
RATES = {"quickstart": 3e-3, "python": 5e-4}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def main() -> int:
    """Train, all at once; print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--steps", type=int, default=220)
    parser.add_argument("--ways", default=",".join(WAYS))
    arguments = parser.parse_args()
    folder = unpacked_gguf(arguments.model, file_sha256(arguments.model))
    rows_of = texts(load_tokenizer(folder))
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as processes:
        runs = {
            text: {
                way: processes.submit(run, folder, *rows, way, arguments.steps, RATES[text])
                for way in arguments.ways.split(",")
            }
            for text, rows in rows_of.items()
        }
        for text, ways in runs.items():
            rows, held_out = rows_of[text]
            tokens = sum(len(row["input_ids"]) for row in rows)
            say(f"{text}: {len(rows)} rows, {tokens} tokens, {len(held_out)} held out")
            found = {way: made.result() for way, made in ways.items()}
            compare(found)
            compare_gradients(folder, list(found), found["fast"].adapter, rows)
    return 0


@dataclass(frozen=True)
class Run:
    """Held-out losses before and after, every step's loss, and the adapter."""

    before: float
    after: float
    curve: list[float]
    adapter: dict[str, Any]


def run(
    folder: Path, rows: Sequence[Row], held_out: Sequence[Row], way: str, steps: int, rate: float
) -> Run:
    """Train in one way."""
    model = build(folder, way)
    before = held_out_loss(model, held_out)
    curve = train(model, rows, steps, rate)
    adapter = {name: part.detach().cpu().numpy() for name, part in trainable(model).items()}
    return Run(before, held_out_loss(model, held_out), curve, adapter)


def compare(found: Mapping[str, Run]) -> None:
    """Print what was learnt."""
    fast = found["fast"]
    for way, made in found.items():
        gain = (made.before - made.after) / (fast.before - fast.after)
        apart = statistics.fmean(abs(a - b) for a, b in zip(made.curve, fast.curve, strict=True))
        say(f"  {way}: held-out loss {made.before:.5f}, then {made.after:.5f}")
        say(
            f"    in parts of fast's: gain {gain:.4f}, last loss {made.after / fast.after:.5f};"
            f" training losses apart by {apart:.5f} in the mean"
        )
        means = [statistics.fmean(made.curve[at : at + 20]) for at in range(0, len(made.curve), 20)]
        say(f"    training loss, 20 steps each: {' '.join(f'{mean:.4f}' for mean in means)}")


def compare_gradients(
    folder: Path, ways: Sequence[str], adapter: Mapping[str, Any], rows: Sequence[Row]
) -> None:
    """Print how far they are from float32's, and the angles to fast bfloat16's."""
    batch = random.Random(3).sample(rows, 4 * ROWS_OF_STEP)
    exact = gradients(build(folder, "plain", "float32"), adapter, batch)
    found = {way: gradients(build(folder, way), adapter, batch) for way in ways}
    for way, grads in found.items():
        errors = [error(grads[name], exact[name]) for name in exact]
        say(f"  {way}: gradients off float32's by {max(errors):.4f} at most")
        if way != "fast":
            say("    cosine to fast's, least and median of every layer")
            say("    " + " ".join(by_layer(grads, found["fast"])))


def texts(tokenizer: Any) -> dict[str, tuple[list[Row], list[Row]]]:
    """Rows to train on and rows held out, by the text's name."""
    config = compose(["experiment=quickstart"])
    dataset = load_dataset(config, base_dir=Path.cwd())
    template = PromptTemplate(load_template(config.dataset.template, *template_dirs(None)))
    chats = [
        tokenize_rows(split, tokenizer, template, max_length=512)
        for split in (dataset.train, dataset.eval)
    ]
    prose: tuple[list[Row], list[Row]] = [], []
    for number, name in enumerate(sorted(topics)):
        ids = tokenizer(topics[name])["input_ids"]
        for start in range(0, len(ids) - 32, ROW_TOKENS):
            row = ids[start : start + ROW_TOKENS]
            prose[number % 10 == 0].append({"input_ids": row, "labels": row})
    train_rows, held_out = ([part[number] for number in range(len(part))] for part in chats)
    return {"quickstart": (list[Row](train_rows), list[Row](held_out)), "python": prose}


def build(folder: Path, way: str, dtype: Any = "bfloat16") -> Any:
    """The model with its first adapter, in NF4."""
    model = tuned(folder, dtype, seed=42)
    model.train()
    if way != "plain":
        install(model, float8=way == "fp8")
    return model


def train(model: Any, rows: Sequence[Row], steps: int, rate: float) -> list[float]:
    """Train by AdamW, the rate falling in a line; return every step's loss."""
    weights = list(trainable(model).values())
    optimizer = torch.optim.AdamW(weights, lr=rate, weight_decay=0.0)
    found = []
    for step, batch in enumerate(batches(rows, steps)):
        for group in optimizer.param_groups:
            group["lr"] = rate * min((step + 1) / WARMUP, (steps - step) / (steps - WARMUP))
        loss = mean_loss(model, batch)
        backward_of(loss)
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        found.append(loss.detach())
    return [float(loss) for loss in found]


def batches(rows: Sequence[Row], steps: int) -> list[list[Row]]:
    """The rows of every step."""
    drawn, order = random.Random(1), list[Row]()
    while len(order) < steps * ROWS_OF_STEP:
        order += drawn.sample(rows, len(rows))
    return [order[at * ROWS_OF_STEP : (at + 1) * ROWS_OF_STEP] for at in range(steps)]


def mean_loss(model: Any, rows: Sequence[Row]) -> Any:
    """Nats a label, with gradient."""
    batch = (Collator(0) if fast_model(model) is None else EndToEndCollator())(rows)
    batch = {name: on_device(part) for name, part in batch.items()}
    count = sum(label >= 0 for row in rows for label in row["labels"][1:])
    dtype = model.get_base_model().model.embed_tokens.weight.dtype
    with torch.autocast(DEVICE, torch.bfloat16, enabled=dtype == torch.bfloat16):
        return label_loss_sum(model, batch) / count


def gradients(model: Any, adapter: Mapping[str, Any], rows: Sequence[Row]) -> dict[str, Any]:
    """Of every LoRA weight, with the weights of `adapter`."""
    with torch.no_grad():
        for name, weight in trainable(model).items():
            weight.copy_(torch.from_numpy(adapter[name]))
    backward_of(mean_loss(model, rows))
    return {name: weight.grad.float() for name, weight in trainable(model).items()}


def held_out_loss(model: Any, rows: Sequence[Row]) -> float:
    """Nats a label, in bfloat16 whatever the training passes compute in."""
    with torch.autocast(DEVICE, torch.bfloat16):
        return mean_label_loss(model, rows, Collator(0), batch_size=16)


def by_layer(found: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Least and median cosine of every layer's gradients."""
    made: list[str] = []
    for layer in range(1000):
        names = [name for name in found if f".layers.{layer}." in name]
        if not names:
            return made
        cosines = sorted(cosine(found[name], other[name]) for name in names)
        made.append(f"{cosines[0]:.3f}/{cosines[len(cosines) // 2]:.3f}")
    return made


def on_device(part: Any) -> Any:
    """A tensor there; lists stay."""
    return part.to(DEVICE) if isinstance(part, torch.Tensor) else part


def backward_of(loss: Any) -> None:
    """torch does not type it."""
    loss.backward()


if __name__ == "__main__":
    sys.exit(main())
