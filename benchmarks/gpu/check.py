"""
Whether the fast layers compute what they should, on this machine's GPU.

usage: python -m benchmarks.gpu.check

Kernels against plain PyTorch; then gradients of every LoRA weight of a small llama, against those
of transformers' and PEFT's layers in float32 on the same 4-bit weights. Exits with 1 where the fast
layers are further from them than 1.2 times PEFT's own bfloat16, or than 1e-5 in float32.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from benchmarks.gpu.random_llama import save

from ftctl_trainer.data.collator import EndToEndCollator
from ftctl_trainer.generate import greedy_answers
from ftctl_trainer.model.fast import head, kernels, reference
from ftctl_trainer.model.fast.decode import answers
from ftctl_trainer.model.fast.install import fast_model, install
from ftctl_trainer.model.fast.main_memory import MainMemory
from ftctl_trainer.model.fast.places import Places
from ftctl_trainer.model.fast.plan import apply_places, keep_what_fits
from ftctl_trainer.model.labels import label_loss_sum
from ftctl_trainer.model.load import load_quantized
from ftctl_trainer.model.lora import add_lora, trainable

SEVEN = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SMALL = {
    "vocab_size": 2048,
    "hidden_size": 1024,
    "intermediate_size": 2816,
    "num_hidden_layers": 4,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
}
# Long ones among them go another way through attention, and are filled up unless they are multiples
# of 512.
LENGTHS = (37, 512, 2100, 700, 64, 3300, 5, 3584)
MOST_FLOAT32, MOST_RATIO = 1e-5, 1.2


def main() -> int:
    """Check; print what was found."""
    worst = max(kernel_errors().values())
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder), **SMALL)
        exact = gradients(Path(folder), "float32", fast=False)
        plain = errors(gradients(Path(folder), "bfloat16", fast=False), exact)
        fast = errors(gradients(Path(folder), "bfloat16", fast=True), exact)
        again = errors(gradients(Path(folder), "bfloat16", fast=True, keeps=True), exact)
        away = errors(gradients(Path(folder), "bfloat16", fast=True, keeps="offload"), exact)
        wide = errors(gradients(Path(folder), "float32", fast=True), exact)
        differing = answers_apart(Path(folder))
        eight = gradients(Path(folder), "bfloat16", fast=True, float8=True)
    ratio = max(max(fast[name], again[name], away[name]) / plain[name] for name in fast)
    say(f"kernels, float32: error at most {worst:.1e}")
    say(f"float32: error at most {max(wide.values()):.1e}")
    say(f"float32: {differing} of the most likely answers' tokens are not transformers'")
    say(f"bfloat16: error at most {max(fast.values()):.4f}, PEFT's {max(plain.values()):.4f}")
    say(f"bfloat16, layers computed again: error at most {max(again.values()):.4f}")
    say(f"bfloat16, attention in main memory: error at most {max(away.values()):.4f}")
    say(f"bfloat16: at most {ratio:.3f} times PEFT's of the same weight")
    for layer in range(SMALL["num_hidden_layers"]):
        names = [name for name in exact if f".layers.{layer}." in name]
        cosines = [cosine(eight[name], exact[name]) for name in names]
        say(f"fp8, layer {layer}: gradients' cosine {min(cosines):.4f} to {max(cosines):.4f}")
    right = max(worst, *wide.values()) < MOST_FLOAT32 and ratio < MOST_RATIO and not differing
    return 0 if right else 1


def kernel_errors() -> dict[str, float]:
    """Relative error of every kernel in float32."""

    def draw(*shape: int) -> Any:
        return torch.randn(shape, device="cuda")

    x, weight, plus = draw(300, 1024), draw(1024), draw(300, 1024)
    y, scale = kernels.rms_norm(x, weight, 1e-5)
    found = {"rms_norm": error(y, reference.rms_norm(x, weight, 1e-5)[0])}
    back = [part.rms_norm_backward(plus, x, weight, scale, x) for part in (kernels, reference)]
    found["rms_norm_backward"] = error(*back)
    cos, sin = draw(300, 32), draw(300, 32)
    turned = [draw(300, 24, 64)]
    turned.append(turned[0].clone())
    for part, qkv in zip((kernels, reference), turned, strict=True):
        part.rotate_(qkv, cos, sin, 20)
    found["rotate_"] = error(*turned)
    heads = draw(300, 16, 64), draw(300, 4, 64), draw(300, 4, 64)
    found["joined"] = error(*(part.joined(*heads, cos, sin) for part in (kernels, reference)))
    wide, grad = draw(300, 2 * 2816), draw(300, 2816)
    found["swiglu"] = error(*(part.swiglu(wide, 2816) for part in (kernels, reference)))
    twin, grad_twin = wide.clone(), grad.clone()
    made = kernels.swiglu_backward_(wide, grad), reference.swiglu_backward_(twin, grad_twin)
    found["swiglu_backward_"] = max(error(*made), error(wide, twin))
    found["output layer"] = head_error()
    logits, targets = draw(100, 40000), torch.randint(0, 40000, (100,), device="cuda")
    twin = logits.clone()
    losses = kernels.cross_entropy_(logits, targets), reference.cross_entropy_(twin, targets)
    found["cross_entropy_"] = max(error(*losses), error(logits, twin))
    dropped, again = kernels.dropout(x, 0.25, 7), torch.zeros_like(x)
    kernels.add_dropped_(again, x, 0.25, 7)
    kept = dropped != 0
    found["dropout"] = max(error(again, dropped), error(dropped[kept], x[kept] / 0.75))
    # A share of 300,000 draws is right to two digits only.
    if abs(float(kept.float().mean()) - 0.75) > 0.01:
        found["dropout's share"] = float(kept.float().mean())
    return found


def head_error() -> float:
    """Of the gradient of an output layer that is trained in float32, from half precision."""
    x, weight = torch.randn(700, 256, device="cuda"), torch.randn(5000, 256, device="cuda") / 16
    targets = torch.randint(0, 5000, (700,), device="cuda")
    grads, size = [], head.PART_BYTES
    # Products of half precision are exact in float32; what is rounded before them is the same.
    for parts in (7, 1):
        head.PART_BYTES = 700 * 5000 * 2 // parts
        leaf = weight.clone().requires_grad_()
        (head.label_loss(x.bfloat16(), leaf, targets) / 700).backward()  # type: ignore[no-untyped-call]
        grads.append(leaf.grad)
    head.PART_BYTES = size
    return error(*grads)


def tuned(folder: Path, dtype: Any, *, seed: int) -> Any:
    """A model in NF4 with adapters on the seven projections, their B zero."""
    return add_lora(
        load_quantized(folder, dtype=dtype, use_8bit=False),
        rank=16,
        alpha=32,
        dropout=0.0,
        target_modules=SEVEN,
        modules_to_save=[],
        seed=seed,
    )


def gradients(
    folder: Path, dtype: Any, *, fast: bool, float8: bool = False, keeps: bool | str = False
) -> dict[str, Any]:
    """
    Of every LoRA weight, none of them zero, for rows of LENGTHS.

    Args:
        keeps: as configured; offload though there is room.
    """
    model = tuned(folder, dtype, seed=0)
    generator = torch.Generator("cuda").manual_seed(1)
    with torch.no_grad():
        for name, weight in trainable(model).items():
            if "lora_B" in name:
                weight.normal_(std=0.02, generator=generator)
    model.train()
    if fast:
        install(model, float8=float8)
        layers = fast_model(model)
        assert layers is not None
        if keeps == "offload":
            layers.main_memory = MainMemory(2**29, pinned=True)
            # Three of four layers, one of them with its gates, and room on the GPU for one.
            apply_places(layers, Places(away=3, gates=1, stay=1, room=2**27, main=2**29))
        else:
            keep_what_fits(layers, keeps, sum(LENGTHS))
    draws = torch.Generator().manual_seed(2)
    rows = []
    for length in LENGTHS:
        ids = torch.randint(0, SMALL["vocab_size"], (length,), generator=draws).tolist()
        rows.append({"input_ids": ids, "labels": ids})
    with torch.autocast("cuda", torch.bfloat16, enabled=dtype == "bfloat16"):
        if fast:
            batch = EndToEndCollator()(rows)
            backward(model, {name: on_gpu(part) for name, part in batch.items()})
        else:
            for row in rows:
                backward(
                    model, {name: torch.tensor([ids], device="cuda") for name, ids in row.items()}
                )
    return {name: weight.grad.float() for name, weight in trainable(model).items()}


def answers_apart(folder: Path) -> int:
    """Tokens in which the fast layers' most likely answers and transformers' differ."""
    model = tuned(folder, "float32", seed=0)
    install(model)
    layers = fast_model(model)
    assert layers is not None
    draws = torch.Generator().manual_seed(3)
    prompts = [
        torch.randint(0, SMALL["vocab_size"], (n,), generator=draws).tolist() for n in (7, 20, 300)
    ]
    found = answers(
        layers, prompts, most=40, at_once=256, stop_ids=[], choose=lambda logits: logits.argmax(-1)
    )
    exact = greedy_answers(model, prompts, max_new_tokens=40, batch_size=3, stop_ids=[], pad_id=0)
    rows = zip(found, exact, strict=True)
    return sum(a != b for mine, theirs in rows for a, b in zip(mine, theirs, strict=True))


def backward(model: Any, batch: Any) -> None:
    """Add the gradients of a batch's loss."""
    loss: Any = label_loss_sum(model, batch)
    loss.backward()


def on_gpu(part: Any) -> Any:
    """A tensor there; lists stay."""
    return part.cuda() if isinstance(part, torch.Tensor) else part


def errors(found: dict[str, Any], exact: dict[str, Any]) -> dict[str, float]:
    """Relative error of every gradient."""
    return {name: error(grad, exact[name]) for name, grad in found.items()}


def error(found: Any, exact: Any) -> float:
    """Length of the difference, in lengths of the exact one."""
    return float((found.float() - exact.float()).norm() / exact.float().norm())


def cosine(found: Any, exact: Any) -> float:
    """Of the angle between two gradients."""
    return float(torch.nn.functional.cosine_similarity(found.flatten(), exact.flatten(), 0))


def say(text: str) -> None:
    """Print at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
