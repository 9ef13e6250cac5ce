"""
A training by TRL and PEFT as their own guides write it, without a line of the project.

`python plain_trl.py SETTINGS.json` prints a JSON list: the loss of every step, nats a label token.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def main(file: Path) -> None:
    """Train by the settings of a file, as `_settings_of` in test_same_as_trl.py makes it."""
    settings = json.loads(file.read_text(encoding="utf-8"))
    sys.stdout.write(f"{json.dumps(losses(settings))}\n")


def losses(settings: dict[str, Any]) -> list[float]:
    """The loss of every step."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    torch.set_num_threads(1)
    model = _nf4(settings["base"])
    if settings["dequantized"]:
        model = _dequantized(model, settings["base"])
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=settings["output_dir"],
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            **settings["training"],
        ),
        train_dataset=Dataset.from_list(settings["rows"]),
        processing_class=AutoTokenizer.from_pretrained(settings["base"]),
        peft_config=LoraConfig(task_type="CAUSAL_LM", **settings["lora"]),
    )
    trainer.train()
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]


def _nf4(folder: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    return AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.float32,
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.float32,
        ),
    )


def _dequantized(quantized: Any, folder: str) -> Any:
    """The same weights as plain float32 layers; transformers' own `dequantize` rounds them."""
    import torch
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn import Linear4bit
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for name, layer in quantized.named_modules():
        if isinstance(layer, Linear4bit):
            weight = dequantize_4bit(layer.weight.data, layer.weight.quant_state)
            model.get_submodule(name).weight.data = weight.to(torch.float32)
    return model


if __name__ == "__main__":
    main(Path(sys.argv[1]))
