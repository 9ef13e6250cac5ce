"""
Speed and memory of the train stage, as a pod runs it.

usage: train.py MODEL [--documents TOKENS] [--label TEXT] [--steps N] [--profile STEP]
                [--memory GIB] [OVERRIDE ...]

MODEL is a folder with a tokenizer of single bytes (random_llama.py). Rows have chat-like lengths
(log-normal, a median of 330 tokens, at most 2,048), or all as many tokens as --documents says. For
training.method=dpo they are pairs of such chats with one prompt, for grpo a prompt is the first
half of one. The stage is ended after the last step. --profile has stage.py say on stderr where the
time of two steps goes, --memory lets it have no more of the GPU's.

Prints a line of JSON: real tokens a second (median of the lines of metrics but the first, five
steps each, and each of them), the most memory reserved, the loss of the first line and of the last;
for grpo the seconds of a step's generation, and its share.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ftctl.config.compose import compose
from ftctl.contract.layout import RunLayout
from ftctl.data.digest import push_dataset
from ftctl.resources import template_dirs
from ftctl.runs.prepare import prepare
from ftctl.storage.open import open_store
from ftctl.storage.runs import register

# Steps a line of metrics; a line reads the device, and waits for it.
LOGGED = 5
# What the chat template adds to a row: roles and ends of turns.
ADDED = len("user:") + len("assistant:") + 2
SETTINGS = (
    "model.modules_to_save=[]",
    "model.torch_dtype=bfloat16",
    "model.lora_dropout=0",
    "training.packing=true",
    "training.per_device_train_batch_size=1",
    "training.gradient_accumulation_steps=1",
    "training.optim=adamw_torch_fused",
    f"training.logging_steps={LOGGED}",
    "training.save_steps=100000",
    "dataset.assistant_only=false",
    "testing.test=false",
)


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--documents", type=int, default=0)
    parser.add_argument("--label", default="ftctl")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--profile", type=int, default=0)
    parser.add_argument("--memory", type=float, default=0)
    arguments, overrides = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(arguments, overrides, Path(folder))
        sys.stdout.write(json.dumps(found) + "\n")
    return 0


def measure(arguments: argparse.Namespace, overrides: list[str], folder: Path) -> dict[str, object]:
    """Train so many steps; return what is printed."""
    settings = [
        *SETTINGS,
        f"model.model_name={arguments.model}",
        f"training.max_steps={arguments.steps}",
        f"paths.output_dir={folder}/models",
        f"dataset.train={folder}/train.jsonl",
        f"dataset.eval={folder}/eval.jsonl",
        *overrides,
    ]
    config = compose(settings)
    training = config.training
    rows_of_step = training.per_device_train_batch_size * training.gradient_accumulation_steps
    # More than are trained on: of the sequences that rows are packed into only the last has gaps.
    tokens = 2 * training.max_seq_length * rows_of_step * arguments.steps
    lengths = document_lengths(tokens, arguments.documents)
    write_rows(folder / "train.jsonl", lengths, training.method, seed=1)
    write_rows(folder / "eval.jsonl", [64], training.method, seed=2)
    store = open_store(config.storage, default=config.paths.output_dir)
    prepared = prepare(
        config, store=store, base_dir=folder, template_dirs=template_dirs(None), new=False
    )
    push_dataset(store, prepared.dataset)
    run = register(store, prepared.run)
    file = folder / "config.json"  # JSON is YAML
    file.write_text(run.model_dump_json())
    metrics = folder / "models" / RunLayout(run.run_id).metrics
    stage = [sys.executable, "-m", "benchmarks.gpu.stage"]
    stage += [str(arguments.profile), str(arguments.memory)]
    if not (arguments.profile or arguments.memory) and training.method != "grpo":
        stage = [sys.executable, "-m", "ftctl_trainer"]
    said = folder / "stderr"
    with (
        said.open("wb") as err,
        subprocess.Popen(
            [*stage, "train", "--config", str(file)], stdout=err, stderr=err
        ) as process,
    ):
        while process.poll() is None and len(steps_of(metrics)) < arguments.steps // LOGGED:
            time.sleep(0.5)
        process.kill()
    sys.stderr.write(said.read_text(errors="replace"))
    lines = steps_of(metrics)
    if len(lines) < arguments.steps // LOGGED:
        return {"label": arguments.label, "failed": process.returncode, "lines": len(lines)}
    timed = lines[1:]
    return {
        "label": arguments.label,
        "documents": arguments.documents or "chat",
        "tokens_per_s": round(statistics.median(line["real_tokens_per_s"] for line in timed)),
        "each": [round(line["real_tokens_per_s"]) for line in timed],
        "step_s": round(statistics.median(line["step_s"] for line in timed), 3),
        "fill": round(
            (lines[-1]["real_tokens"] - lines[0]["real_tokens"])
            / (len(timed) * LOGGED * training.max_seq_length * rows_of_step),
            3,
        ),
        **generation(said, len(lines), sum(line["step_s"] for line in timed)),
        "reserved_gib": round(timed[-1]["peak_memory_gib"], 1),
        "loss": [round(lines[0]["loss"], 4), round(lines[-1]["loss"], 4)],
        "overrides": overrides,
    }


def document_lengths(tokens: int, each: int) -> list[int]:
    """Lengths of rows, so many tokens together."""
    rng = random.Random(0)
    found: list[int] = []
    while sum(found) < tokens:
        found.append(each or min(2048, max(32, int(rng.lognormvariate(5.8, 0.8)))))
    return found


def write_rows(path: Path, lengths: list[int], method: str, seed: int) -> None:
    """Chats of random letters; with a tokenizer of bytes they have these lengths."""
    rng = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyz "
    with path.open("w", encoding="ascii") as file:
        for length in lengths:
            text = "".join(rng.choices(letters, k=length - ADDED))
            half = len(text) // 2
            row: dict[str, object] = {"prompt": text[:half], "chosen": text[half:]}
            if method == "dpo":
                # As long as another row's answer, as far as there is room for it.
                other = min(max(rng.choice(lengths) - ADDED, 4) // 2, 2048 - ADDED - half)
                row["rejected"] = "".join(rng.choices(letters, k=max(other, 1)))
            elif method == "grpo":
                row = {"prompt": text[:half], "completion": "."}
            else:
                turns = [("user", text[:half]), ("assistant", text[half:])]
                row = {"messages": [{"role": role, "content": content} for role, content in turns]}
            file.write(json.dumps(row) + "\n")


def generation(said: Path, lines: int, trained_s: float) -> dict[str, float]:
    """Share of generation in the timed steps, where there is any."""
    seconds = [
        json.loads(line)["generated_s"]
        for line in said.read_text(errors="replace").splitlines()
        if line.startswith('{"generated_s"')
    ]
    if not seconds:
        return {}
    timed = seconds[len(seconds) // lines :]
    # Seconds of a line are means over its steps.
    return {
        "generation_s": round(statistics.median(timed), 3),
        "generation": round(sum(timed) / (trained_s * LOGGED), 3),
    }


def steps_of(metrics: Path) -> list[dict[str, float]]:
    """The lines of training steps that are there by now."""
    if not metrics.is_file():
        return []
    lines = [json.loads(line) for line in metrics.read_text().splitlines() if line.endswith("}")]
    return [line for line in lines if line.get("loss") is not None]


if __name__ == "__main__":
    sys.exit(main())
