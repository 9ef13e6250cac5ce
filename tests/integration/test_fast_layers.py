"""The fast layers against transformers' own under PEFT; without a GPU, in plain PyTorch."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from ftctl_trainer.data.collator import EndToEndCollator
from ftctl_trainer.data.packing import packed
from ftctl_trainer.model.fast import head, reference
from ftctl_trainer.model.fast.install import fast_model, install
from ftctl_trainer.model.labels import label_loss_sum
from ftctl_trainer.model.lora import trainable
from tests.integration.fast_models import (
    LENGTHS,
    alone,
    assert_same,
    backward,
    gradients,
    rows,
    together,
)
from tests.integration.tuned_model import tuned


@pytest.mark.parametrize("kind", ["llama", "llama-biases", "mistral", "qwen2"])
def test_loss_and_gradients_are_those_of_the_rows_alone(
    folders: dict[str, Path], kind: str
) -> None:
    plain, fast = tuned(folders[kind]), tuned(folders[kind])
    install(fast)

    assert_same(together(fast), alone(plain))


@pytest.mark.parametrize("tunes", [True, False], ids=["tuned", "base"])
def test_passes_without_gradients_of_a_training_step_are_fast(
    folders: dict[str, Path], tunes: bool
) -> None:
    """What DPO and GRPO compare with: the model as it is, or without its adapters."""
    plain, fast = tuned(folders["llama-biases"]), tuned(folders["llama-biases"])
    install(fast)
    ids = torch.randint(3, 380, (2, 24), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, :9] = 0

    def hidden(model: Any) -> torch.Tensor:
        off = nullcontext() if tunes else model.disable_adapter()
        with torch.no_grad(), off:
            inner = model.get_base_model().model
            found: torch.Tensor = inner(input_ids=ids, attention_mask=mask).last_hidden_state
        return found[mask.bool()]

    torch.testing.assert_close(hidden(fast), hidden(plain), rtol=1e-4, atol=1e-5)
    assert not hidden(plain).requires_grad
    with torch.no_grad():
        whole = fast.get_base_model().model(input_ids=ids, attention_mask=mask).last_hidden_state
    assert not whole[1, :9].any()  # the fast layers leave padding out
    assert_same(together(fast), alone(plain))


def test_another_adapter_is_left_to_the_models_own_layers(folders: dict[str, Path]) -> None:
    plain, fast = tuned(folders["llama"]), tuned(folders["llama"])
    install(fast)
    ids = torch.arange(10, 34).view(1, 24)
    found = []
    for model in (fast, plain):
        model.add_adapter("ref", model.peft_config["default"])
        model.set_adapter("ref")
        found.append(model(input_ids=ids).logits)
        model.set_adapter("default")
    assert torch.equal(*found)
    assert_same(together(fast), alone(plain))


def test_packed_rows_are_told_apart_by_their_positions(folders: dict[str, Path]) -> None:
    plain, fast = tuned(folders["llama"]), tuned(folders["llama"])
    install(fast)
    [sequence] = packed(rows(), sum(LENGTHS), 0)
    batch = EndToEndCollator()([sequence])

    assert sorted(batch["row_lengths"]) == sorted(LENGTHS)
    backward(loss := label_loss_sum(fast, batch))
    assert_same((loss.item(), gradients(fast)), alone(plain))


def test_the_loss_in_parts_is_the_whole(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tuned(folders["llama"], modules_to_save=["lm_head"])
    install(model)
    expected = together(model)
    vocabulary = model.config.vocab_size
    monkeypatch.setattr(head, "PART_BYTES", 3 * vocabulary * 4)  # three of the labels

    assert_same(together(model), expected)


def test_a_share_of_the_loss_has_that_share_of_the_gradients(folders: dict[str, Path]) -> None:
    model = tuned(folders["llama"], modules_to_save=["lm_head"])
    install(model)
    loss, whole = together(model)
    backward(label_loss_sum(model, EndToEndCollator()(rows())) / 8)

    assert_same((loss, {name: 8 * grad for name, grad in gradients(model).items()}), (loss, whole))


def test_a_batch_without_labels_teaches_nothing(folders: dict[str, Path]) -> None:
    """Several processes fill the last step up with such rows."""
    model = tuned(folders["llama"])
    install(model)
    blank = {"input_ids": [5, 6, 7], "labels": [-100, -100, -100]}
    loss = label_loss_sum(model, EndToEndCollator()([blank]))
    backward(loss)

    assert loss.item() == 0
    assert all(not grad.any() for grad in gradients(model).values())


@pytest.mark.parametrize("asked", ["output_hidden_states", "use_cache"])
def test_what_the_layers_do_not_have_comes_from_the_models_own(
    folders: dict[str, Path], asked: str
) -> None:
    model = tuned(folders["llama"])
    install(model)
    found = model(input_ids=torch.arange(10, 34).view(1, 24), **{asked: True})

    has = found.hidden_states if asked == "output_hidden_states" else found.past_key_values
    assert has is not None


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


@pytest.mark.parametrize("autocast", [False, True], ids=["alone", "autocast"])
def test_a_trained_output_layer_takes_what_passes_without_gradients_make(
    folders: dict[str, Path], autocast: bool
) -> None:
    """The layers compute in bfloat16, and the copy of the output layer is float32."""
    model = tuned(folders["llama"], dtype="bfloat16", modules_to_save=["lm_head"])
    install(model)
    ids = torch.arange(10, 34).view(1, 24)

    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = model(input_ids=ids).logits

    assert found.dtype == (torch.bfloat16 if autocast else torch.float32)
    assert torch.isfinite(found).all()


def test_what_is_not_dropped_makes_up_for_what_is() -> None:
    x = torch.randn(200, 500, generator=torch.Generator().manual_seed(4))
    dropped = reference.dropout(x, 0.25, 7)
    kept = dropped != 0

    torch.testing.assert_close(dropped[kept], x[kept] / 0.75)
    assert float(kept.float().mean()) == pytest.approx(0.75, abs=0.01)
    assert torch.equal(reference.dropout(x, 0.25, 7), dropped)


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
        attention.keeps = mlp.keeps = mlp.keeps_input = keeps
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
