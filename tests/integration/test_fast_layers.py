"""The fast layers against transformers' own under PEFT; without a GPU, in plain PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ftctl_trainer.data.collator import EndToEndCollator
from ftctl_trainer.model.fast.install import fast_model, install
from ftctl_trainer.model.labels import label_loss_sum
from ftctl_trainer.model.load import load_quantized
from ftctl_trainer.model.lora import add_lora, trainable
from tests.integration.tiny_model import save_tokenizer

SEVEN = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LENGTHS = (5, 23, 11)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A two-layer model of every architecture that the fast layers know."""
    from transformers import AutoConfig, AutoModelForCausalLM

    made = {}
    for kind in ("llama", "mistral", "qwen2"):
        folder = tmp_path_factory.mktemp(kind)
        vocabulary = len(save_tokenizer(folder))
        config = AutoConfig.for_model(
            kind,
            vocab_size=vocabulary,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            sliding_window=None,
            tie_word_embeddings=False,
            dtype="float32",
        )
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "norm" in name or name.endswith("bias"):
                    weight.normal_(1.0 if "norm" in name else 0.0, 0.2)
        model.save_pretrained(folder)
        made[kind] = folder
    return made


def tuned(folder: Path, *, layers: list[str] | None = None, **options: Any) -> Any:
    """A 4-bit model whose adapters are no longer zero."""
    model = add_lora(
        load_quantized(folder, dtype="float32", use_8bit=False),
        rank=4,
        alpha=8,
        dropout=options.pop("dropout", 0.0),
        target_modules=layers or SEVEN,
        modules_to_save=options.pop("modules_to_save", []),
        seed=0,
        **options,
    )
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in trainable(model).items():
            if "lora_B" in name:
                weight.normal_(std=0.1, generator=generator)
    return model.train()


def rows() -> list[dict[str, list[int]]]:
    """Rows of random tokens; the first half of each carries no loss."""
    generator = torch.Generator().manual_seed(2)
    found = []
    for length in LENGTHS:
        ids = torch.randint(3, 380, (length,), generator=generator).tolist()
        found.append({"input_ids": ids, "labels": [-100] * (length // 2) + ids[length // 2 :]})
    return found


def backward(loss: Any) -> None:
    """torch does not type it."""
    loss.backward()


def gradients(model: Any) -> dict[str, torch.Tensor]:
    """Of every trained weight; they are cleared."""
    found = {name: weight.grad for name, weight in trainable(model).items()}
    model.zero_grad()
    return found


def alone(model: Any) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of the rows, each by itself through the model's own layers."""
    total = 0.0
    for row in rows():
        loss = label_loss_sum(model, {n: torch.tensor([v]) for n, v in row.items()})
        backward(loss)
        total += loss.item()
    return total, gradients(model)


def together(model: Any) -> tuple[float, dict[str, torch.Tensor]]:
    """The same end to end through the fast layers."""
    loss = label_loss_sum(model, EndToEndCollator()(rows()))
    backward(loss)
    return loss.item(), gradients(model)


def assert_same(found: Any, expected: Any) -> None:
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    assert found[1].keys() == expected[1].keys()
    for name, grad in found[1].items():
        reference = expected[1][name]
        assert reference.abs().max() > 0, name
        error = (grad - reference).norm() / reference.norm()
        assert error < 1e-5, (name, float(error))


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2"])
def test_loss_and_gradients_are_those_of_the_rows_alone(
    folders: dict[str, Path], kind: str
) -> None:
    plain, fast = tuned(folders[kind]), tuned(folders[kind])
    install(fast)

    assert_same(together(fast), alone(plain))


@pytest.mark.parametrize("attention", [True, False], ids=["attention-kept", "attention-again"])
@pytest.mark.parametrize("mlp", [True, False], ids=["mlp-kept", "mlp-again"])
def test_what_is_computed_again_gives_the_same_gradients(
    folders: dict[str, Path], attention: bool, mlp: bool
) -> None:
    model = tuned(folders["llama"])
    install(model)
    expected = together(model)
    fast = fast_model(model)
    assert fast is not None
    fast.attentions[1].keeps, fast.mlps[0].keeps = attention, mlp

    assert_same(together(model), expected)


def test_layers_without_an_adapter_are_products_alone(folders: dict[str, Path]) -> None:
    plain = tuned(folders["llama"], layers=["q_proj", "v_proj", "up_proj"])
    fast = tuned(folders["llama"], layers=["q_proj", "v_proj", "up_proj"])
    install(fast)

    assert_same(together(fast), alone(plain))


def test_an_output_layer_that_is_trained_gets_its_gradient(folders: dict[str, Path]) -> None:
    plain, fast = (tuned(folders["llama"], modules_to_save=["lm_head"]) for _ in range(2))
    install(fast)

    found = together(fast)

    assert any("lm_head" in name for name in found[1])
    assert_same(found, alone(plain))


@pytest.mark.parametrize("keeps", [True, False], ids=["kept", "again"])
def test_with_dropout_gradients_are_the_slopes_of_the_loss(
    folders: dict[str, Path], keeps: bool
) -> None:
    """Of the loss with the same values dropped: each pass draws by torch's generator."""
    model = tuned(folders["llama"], dropout=0.3)
    install(model)
    fast = fast_model(model)
    assert fast is not None
    for attention, mlp in zip(fast.attentions, fast.mlps, strict=True):
        attention.keeps = mlp.keeps = keeps
    batch = EndToEndCollator()(rows())

    def loss(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return label_loss_sum(model, batch)

    backward(loss(0))
    grads = gradients(model)
    generator = torch.Generator().manual_seed(3)
    for name, weight in trainable(model).items():
        direction = torch.randn(weight.shape, generator=generator)
        direction *= 2e-2 / direction.norm()
        sides = []
        for sign in (1, -1):
            with torch.no_grad():
                weight += sign * direction
            sides.append(loss(0).item())
            with torch.no_grad():
                weight -= sign * direction
        slope = float((grads[name] * direction).sum())
        assert sides[0] - sides[1] == pytest.approx(2 * slope, rel=0.05, abs=2e-4), name
    assert loss(0).item() != loss(1).item()
    model.eval()
    assert loss(0).item() == loss(1).item()


@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_rows_give_the_logits_of_rows_alone(folders: dict[str, Path], side: str) -> None:
    plain, fast = tuned(folders["llama"]), tuned(folders["llama"])
    install(fast)
    longest = max(LENGTHS)
    ids, mask = [], []
    for row in rows():
        padding = [0] * (longest - len(row["input_ids"]))
        real = [1] * len(row["input_ids"])
        left = side == "left"
        ids.append([*padding, *row["input_ids"]] if left else [*row["input_ids"], *padding])
        mask.append([*padding, *real] if left else [*real, *padding])

    logits = fast(input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask)).logits

    for number, row in enumerate(rows()):
        expected = plain(input_ids=torch.tensor([row["input_ids"]])).logits[0]
        torch.testing.assert_close(
            logits[number][torch.tensor(mask[number]).bool()], expected, rtol=1e-4, atol=1e-5
        )
    assert logits.requires_grad


def test_passes_without_gradients_are_the_models_own(folders: dict[str, Path]) -> None:
    plain, fast = tuned(folders["llama"]), tuned(folders["llama"])
    install(fast)
    ids = torch.arange(10, 34).view(1, 24)

    with torch.no_grad():
        assert torch.equal(fast(input_ids=ids).logits, plain(input_ids=ids).logits)
        answers = [
            model.generate(input_ids=ids, max_new_tokens=4, do_sample=False)
            for model in (fast, plain)
        ]
    assert torch.equal(*answers)


def test_a_second_backward_pass_is_refused(folders: dict[str, Path]) -> None:
    model = tuned(folders["llama"])
    install(model)
    loss = label_loss_sum(model, EndToEndCollator()(rows()))
    torch.autograd.backward(loss, retain_graph=True)

    with pytest.raises(RuntimeError, match="runs once"):
        backward(loss)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"use_dora": True}, "LoRA with biases or a variant"),
        ({"layers": [*SEVEN, "lm_head"]}, "its output layer is a"),
    ],
)
def test_what_it_is_not_written_for_is_refused(
    folders: dict[str, Path], options: dict[str, Any], why: str
) -> None:
    model = tuned(folders["llama"], **options)

    with pytest.raises(ValueError, match=why):
        install(model)
    assert fast_model(model) is None
