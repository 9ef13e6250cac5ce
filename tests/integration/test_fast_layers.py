"""The fast layers against transformers' own under PEFT; without a GPU, in plain PyTorch."""

from __future__ import annotations

import gc
import weakref
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from ftctl_trainer.data.collator import EndToEndCollator
from ftctl_trainer.data.packing import packed
from ftctl_trainer.model.fast import head, offload, plan, reference
from ftctl_trainer.model.fast.install import fast_model, install
from ftctl_trainer.model.labels import label_loss_sum
from ftctl_trainer.model.lora import trainable
from tests.integration.fast_models import (
    LENGTHS,
    alone,
    assert_same,
    backward,
    gradients,
    made_models,
    rows,
    together,
)
from tests.integration.tuned_model import tuned


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The models' folders, by name."""
    return made_models(tmp_path_factory)


@pytest.mark.parametrize("kind", ["llama", "llama-biases", "mistral", "qwen2"])
def test_loss_and_gradients_are_those_of_the_rows_alone(
    folders: dict[str, Path], kind: str
) -> None:
    plain, fast = tuned(folders[kind]), tuned(folders[kind])
    install(fast)

    assert_same(together(fast), alone(plain))


@pytest.mark.parametrize("attention", [True, False], ids=["attention-kept", "attention-again"])
@pytest.mark.parametrize("mlp", [True, False], ids=["mlp-kept", "mlp-again"])
@pytest.mark.parametrize("between", [True, False], ids=["between-kept", "between-again"])
def test_what_is_computed_again_gives_the_same_gradients(
    folders: dict[str, Path], attention: bool, mlp: bool, between: bool
) -> None:
    model = tuned(folders["llama"])
    install(model)
    expected = together(model)
    fast = fast_model(model)
    assert fast is not None
    fast.attentions[1].keeps, fast.mlps[0].keeps = attention, mlp
    fast.attentions[0].keeps = fast.mlps[1].keeps = False
    fast.mlps[0].keeps_input = fast.mlps[1].keeps_input = between

    assert_same(together(model), expected)


@pytest.mark.parametrize("gates", [True, False], ids=["gates-too", "gates-again"])
def test_what_waits_in_main_memory_comes_back(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, gates: bool
) -> None:
    monkeypatch.setattr(offload, "_LEAST_BYTES", 1024)
    away: list[int] = []
    refs: list[weakref.ref[Any]] = []
    out = offload.Offload._out

    def counted(self: offload.Offload, tensor: torch.Tensor, number: int) -> Any:
        away.append(tensor.numel())
        found = out(self, tensor, number)
        refs.append(weakref.ref(found))
        return found

    monkeypatch.setattr(offload.Offload, "_out", counted)
    model = tuned(folders["llama"])
    install(model)
    expected = together(model)
    assert not away
    fast = fast_model(model)
    assert fast is not None
    plan.keep_what_fits(fast, "offload", sum(LENGTHS))
    assert [mlp.keeps for mlp in fast.mlps] == [True, False]
    fast.mlps[0].keeps = gates

    gc.collect()
    gc.disable()
    try:
        assert_same(together(model), expected)
        # Not by and by: so much memory must be there for the next step.
        assert refs
        assert all(ref() is None for ref in refs)
    finally:
        gc.enable()
    tokens = sum(LENGTHS)
    # Queries, keys, values, what attention makes, and what enters the halves.
    assert {tokens * 128, tokens * 64} <= set(away)
    assert (tokens * (256 + 64) in away) == gates
    # x A' is as wide here.
    assert away.count(tokens * 64) == (13 if gates else 12)


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


def test_a_weight_is_unpacked_for_a_backward_pass_and_let_go(folders: dict[str, Path]) -> None:
    model = tuned(folders["llama"])
    install(model)
    fast = fast_model(model)
    assert fast is not None
    plan.keep_what_fits(fast, True, sum(LENGTHS))
    together(model)

    halves = [*fast.attentions, *fast.mlps]
    products = [part for half in halves for part in vars(half).values() if hasattr(part, "_kept")]
    assert len(products) == 8
    assert all(product._kept is None for product in products)


def test_packed_rows_are_told_apart_by_their_positions(folders: dict[str, Path]) -> None:
    plain, fast = tuned(folders["llama"]), tuned(folders["llama"])
    install(fast)
    [sequence] = packed(rows(), sum(LENGTHS), 0)
    batch = EndToEndCollator()([sequence])

    assert sorted(batch["row_lengths"]) == sorted(LENGTHS)
    backward(loss := label_loss_sum(fast, batch))
    assert_same((loss.item(), gradients(fast)), alone(plain))


def test_a_weight_that_stays_unpacked_takes_the_adapter_as_it_is_now(
    folders: dict[str, Path],
) -> None:
    """The matrix that is kept has room for A and B, which change at every step."""
    kept, fresh = tuned(folders["qwen2"]), tuned(folders["qwen2"])
    for model in (kept, fresh):
        install(model)
    fast = fast_model(kept)
    assert fast is not None
    for products in fast.products:
        products.keep_matrix(fast.dtype)
    together(kept)
    for model in (kept, fresh):
        with torch.no_grad():
            for weight in trainable(model).values():
                weight.mul_(-0.5)

    assert_same(together(kept), together(fresh))


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


GATES, ATTENTION, WEIGHTS = 2, 2, 8


@pytest.mark.parametrize(
    ("setting", "room", "gates", "attention", "unpacked"),
    [
        pytest.param(True, 10.0, 0, 0, 0, id="asked-to-compute-again"),
        pytest.param(False, 0.0, GATES, ATTENTION, 0, id="asked-to-keep"),
        pytest.param("auto", 0.0, 0, 0, 0, id="no-room"),
        pytest.param("auto", 0.1, 0, 0, 0, id="room-for-what-is-between"),
        pytest.param("auto", 0.5, 1, 0, 0, id="room-for-a-half"),
        pytest.param("auto", 1.000001, GATES, ATTENTION, 0, id="room-for-all-halves"),
        pytest.param("auto", 10.0, GATES, ATTENTION, WEIGHTS, id="room-for-the-weights-too"),
    ],
)
def test_what_is_kept_follows_from_the_memory_that_is_free(
    folders: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    setting: bool | str,
    room: float,
    gates: int,
    attention: int,
    unpacked: int,
) -> None:
    """`room` is in what all halves want to keep, of so many tokens that weights are as nothing."""
    model = tuned(folders["llama"])
    install(model)
    fast = fast_model(model)
    assert fast is not None
    tokens, width = 10**6, 4
    kept = sum(half.kept_bytes(width) for half in fast.mlps)
    kept += sum(half.kept_bytes(width) for half in fast.attentions)
    kept += sum(half.gate_up.inputs * width for half in fast.mlps)
    wanted = tokens * kept
    always = plan._always_bytes(fast, tokens)
    monkeypatch.setattr(plan, "free_bytes", lambda: (always + room * wanted) / plan._SHARE)

    plan.keep_what_fits(fast, setting, tokens)
    assert sum(half.keeps for half in fast.mlps) == gates
    assert any(half.keeps_input for half in fast.mlps) == (gates > 0 or room == 0.1)
    assert sum(half.keeps for half in fast.attentions) == attention
    assert sum(products._kept is not None for products in fast.products) == unpacked
    if setting == "auto" and room < 1.5:
        plan.keep_what_fits(fast, setting, tokens, others=plan._SHARE)
        assert not any(half.keeps or half.keeps_input for half in fast.mlps)


def test_the_longest_rows_of_a_pass_count() -> None:
    assert plan.most_tokens([3, 50, 7, 20], 2) == 70


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
