"""
Plain TRL and PEFT on the rows of train.py, to hold DPO and GRPO against.

usage: plain_trl.py dpo|grpo MODEL [--rows N] [--passes N] [--checkpointing] [--answer TOKENS]
                    [--steps N] [--skip N]

NF4 with double quantization in bfloat16, LoRA of rank 16 on the seven projections, Liger's kernels,
AdamW in float32; prompts are answered four times. Prints a line of JSON: seconds of a step, of its
generation, and of the rest; real tokens a second of all and of the rest; how much of what is
computed is no padding; the most memory reserved. The first --skip steps are left out.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from benchmarks.gpu.train import document_lengths, write_rows

SEVEN = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
COLUMNS = {"dpo": ("prompt", "chosen", "rejected"), "grpo": ("prompt",)}
# Of a batch, which together cover every row.
_MASKS = ("attention_mask", "prompt_mask", "completion_mask")
ANSWERS, TOKENS = 4, 300_000


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("method", choices=COLUMNS)
    parser.add_argument("model", type=Path)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--passes", type=int, default=1)
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--answer", type=int, default=64)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--skip", type=int, default=4)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = Measured(chosen.skip, chosen.steps)
        trainer = made(chosen, Path(folder))
        measured.watch(trainer)
        trainer.train()
    sys.stdout.write(json.dumps(vars(chosen) | measured.found(), default=str) + "\n")
    return 0


class Measured:
    """Seconds and tokens between two steps."""

    def __init__(self, first: int, last: int) -> None:
        self._ends = first, last
        self._seen: dict[int, tuple[float, float, int, int]] = {}
        self._tokens: Any = 0
        self._slots, self._generated_s = 0, 0.0

    def watch(self, trainer: Any) -> None:
        """Count what the trainer computes."""
        from transformers import TrainerCallback

        measured, loss = self, trainer.compute_loss

        def counted(model: Any, inputs: dict[str, Any], *rest: Any, **more: Any) -> Any:
            masks = [part for name, part in inputs.items() if name in _MASKS]
            self._tokens = self._tokens + sum(mask.sum() for mask in masks)
            self._slots += sum(mask.numel() for mask in masks)
            return loss(model, inputs, *rest, **more)

        class Steps(TrainerCallback):  # type: ignore[misc]
            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                if state.global_step in measured._ends:
                    measured.mark(state.global_step)

        trainer.compute_loss = counted
        trainer.add_callback(Steps())
        if hasattr(trainer, "_generate"):
            trainer._generate = self._timed(trainer._generate)

    def mark(self, step: int) -> None:
        """Take down where it is, once the device is done."""
        wait()
        now = time.perf_counter()
        self._seen[step] = now, self._generated_s, int(self._tokens), self._slots

    def found(self) -> dict[str, float]:
        """What is printed."""
        first, last = (self._seen[step] for step in self._ends)
        elapsed, generated, tokens, slots = (b - a for a, b in zip(first, last, strict=True))
        steps = self._ends[1] - self._ends[0]
        peak = torch.cuda.max_memory_reserved() if torch.cuda.is_available() else 0
        return {
            "step_s": round(elapsed / steps, 3),
            "generation_s": round(generated / steps, 3),
            "training_s": round((elapsed - generated) / steps, 3),
            "tokens_per_s": round(tokens / elapsed),
            "training_tokens_per_s": round(tokens / (elapsed - generated)),
            "fill": round(tokens / slots, 3),
            "reserved_gib": round(peak / 2**30, 1),
        }

    def _timed(self, work: Any) -> Any:
        def run(*arguments: Any, **named: Any) -> Any:
            wait()
            start = time.perf_counter()
            result = work(*arguments, **named)
            wait()
            self._generated_s += time.perf_counter() - start
            return result

        return run


def made(chosen: argparse.Namespace, folder: Path) -> Any:
    """TRL's trainer."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
    from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer

    write_rows(folder / "rows", document_lengths(TOKENS, 0), chosen.method, seed=1)
    rows = [json.loads(line) for line in (folder / "rows").read_text().splitlines()]
    rows = [{name: row[name] for name in COLUMNS[chosen.method]} for row in rows]
    gpu = torch.cuda.is_available()
    model = AutoModelForCausalLM.from_pretrained(
        chosen.model,
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=torch.bfloat16,
            bnb_4bit_use_double_quant=True,
        ),
        dtype=torch.bfloat16,
        device_map={"": 0 if gpu else "cpu"},
    )
    shared: dict[str, Any] = {
        "output_dir": str(folder),
        "max_steps": chosen.steps,
        "per_device_train_batch_size": chosen.rows,
        "gradient_accumulation_steps": chosen.passes,
        "learning_rate": 2e-5,
        "save_strategy": "no",
        "report_to": "none",
        "optim": "adamw_torch_fused",
        "gradient_checkpointing": chosen.checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
        "bf16": gpu,
        "use_cpu": not gpu,
        "use_liger_kernel": gpu,
    }
    rest: dict[str, Any] = {
        "model": model,
        "train_dataset": Dataset.from_list(rows),
        "processing_class": AutoTokenizer.from_pretrained(chosen.model),
        "peft_config": LoraConfig(r=16, lora_alpha=32, task_type="CAUSAL_LM", target_modules=SEVEN),
    }
    if chosen.method == "dpo":
        return DPOTrainer(args=DPOConfig(**shared, beta=0.1, max_length=None), **rest)
    settings = GRPOConfig(
        **shared, beta=0.04, num_generations=ANSWERS, max_completion_length=chosen.answer
    )
    return GRPOTrainer(reward_funcs=reward, args=settings, **rest)


def reward(completions: list[str], **_: Any) -> list[float]:
    """Something that differs from answer to answer."""
    return [float(len(text) % 7) for text in completions]


def wait() -> None:
    """Until the device is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    sys.exit(main())
