"""Merging tensor by tensor equals PEFT's merge_and_unload; what does not fit is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ftctl.errors import RunFailedError, StorageError
from ftctl_trainer.export import tensors as tensors_module
from ftctl_trainer.export.adapter import check_finite, read_adapter
from ftctl_trainer.export.merge import merged_tensors
from ftctl_trainer.export.plain_path import save_merged
from ftctl_trainer.export.room import check_room
from ftctl_trainer.export.tensors import Tensor, read_folder
from tests.integration.export.conftest import Handoff
from tests.integration.handoff import make_adapter

# PEFT warns of a trained output layer that leaves its embedding; that is what is tested.
pytestmark = [
    pytest.mark.filterwarnings(f"default:{start}:UserWarning")
    for start in (
        "Model (has|with) .tie_word",
        "Input and output embeddings",
        "Setting .save_embedding",
        "Model has .tie_word",
        "You are using",
    )
]

# Both sum up in float32, in another order.
CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}

MERGED: dict[str, dict[str, Any]] = {
    "plain": {},
    "scale-that-no-short-float-holds": {"r": 3, "lora_alpha": 10},
    "rank-and-alpha-patterns": {
        "rank_pattern": {"q_proj": 8},
        "alpha_pattern": {"layers.1.self_attn.k_proj": 2},
    },
    "rank-stabilized": {"use_rslora": True},
    "magnitudes": {"use_dora": True},
    "magnitudes-with-patterns": {
        "use_dora": True,
        "use_rslora": True,
        "rank_pattern": {"layers.0.self_attn.q_proj": 2},
        "alpha_pattern": {"v_proj": 3},
    },
    "output-layer-trained-whole": {"modules_to_save": ["lm_head"]},
    "single-tokens": {"trainable_token_indices": [5, 383, 17]},
    "single-tokens-by-name": {"trainable_token_indices": {"embed_tokens": [5, 383, 17]}},
}
# What merge_and_unload changes in embedding and output layer, training changes in one of them.
AS_TRAINED: dict[str, dict[str, Any]] = {
    "output-layer": {"target_modules": ["q_proj", "lm_head"]},
    "embedding": {"target_modules": ["q_proj", "embed_tokens"]},
    "embedding-with-magnitudes": {"target_modules": ["q_proj", "embed_tokens"], "use_dora": True},
    "embedding-trained-whole": {"modules_to_save": ["embed_tokens"]},
}


def _logits(folder: Path, adapter: Path | None = None, *, merge: bool = True) -> np.ndarray:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if adapter:
        model = PeftModel.from_pretrained(model, adapter)
        model = model.merge_and_unload() if merge else model.eval()
    with torch.no_grad():
        return np.asarray(model(torch.arange(3, 60)[None]).logits[0])


@pytest.mark.parametrize("kind", MERGED)
def test_the_merged_model_is_pefts(kind: str, tiny_base: Path, tmp_path: Path) -> None:
    adapter = make_adapter(tiny_base, tmp_path / "adapter", **MERGED[kind])

    save_merged(tiny_base, adapter, adapter, tmp_path / "merged")

    ours, theirs = _logits(tmp_path / "merged"), _logits(tiny_base, adapter)
    np.testing.assert_allclose(ours, theirs, **CLOSE)
    assert np.abs(ours - _logits(tiny_base)).max() > 0.01


@pytest.mark.parametrize("kind", AS_TRAINED)
def test_an_update_of_one_of_two_tied_layers_leaves_the_other_as_it_was(
    kind: str, tiny_base: Path, tmp_path: Path
) -> None:
    adapter = make_adapter(tiny_base, tmp_path / "adapter", **AS_TRAINED[kind])

    save_merged(tiny_base, adapter, adapter, tmp_path / "merged")

    ours, theirs = _logits(tmp_path / "merged"), _logits(tiny_base, adapter, merge=False)
    np.testing.assert_allclose(ours, theirs, **CLOSE)
    assert np.abs(ours - _logits(tiny_base)).max() > 0.01


def test_added_tokens_come_with_the_adapter(tiny_base: Path, tmp_path: Path) -> None:
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM

    def grown() -> Any:
        model = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
        model.resize_token_embeddings(386, mean_resizing=False)
        return model

    torch.manual_seed(0)
    settings = LoraConfig(target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"])
    tuned = get_peft_model(grown(), settings)
    for weight in (weight for weight in tuned.parameters() if weight.requires_grad):
        weight.data += 0.02 * torch.randn_like(weight)
    tuned.save_pretrained(tmp_path / "adapter")

    save_merged(tiny_base, tmp_path / "adapter", tiny_base, tmp_path / "merged")

    theirs = PeftModel.from_pretrained(grown(), tmp_path / "adapter").eval()
    ours = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    ids = torch.tensor([[1, 385, 2, 384]])
    assert ours.get_input_embeddings().weight.shape[0] == 386
    with torch.no_grad():
        np.testing.assert_allclose(ours(ids).logits, theirs(ids).logits, **CLOSE)


@pytest.mark.parametrize("kind", ["plain", "magnitudes", "single-tokens"])
def test_rows_are_those_of_the_whole(
    kind: str, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensors_module, "BLOCK_VALUES", 64 * 7)  # 7 rows of 64
    adapter = make_adapter(tiny_base, tmp_path / "adapter", **MERGED[kind])

    for tensor in merged_tensors(tiny_base, adapter):
        assert tensor.rows
        whole = tensor.load()
        for begin, end in ((0, 1), (3, 22), (whole.shape[0] - 5, whole.shape[0])):
            np.testing.assert_array_equal(tensor.rows(begin, end), whole[begin:end])
            if tensor.base and tensor.base_rows:
                before = tensor.base()[begin:end]
                np.testing.assert_array_equal(tensor.base_rows(begin, end), before)


Change = Callable[[dict[str, Any], dict[str, np.ndarray]], None]
A_WEIGHT = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
B_WEIGHT = A_WEIGHT.replace("lora_A", "lora_B")
TOKENS = "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta"


def _token_beyond(settings: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
    settings["trainable_token_indices"] = [384]
    tensors[TOKENS] = np.ones((1, 64), np.float32)


def _another_name(_: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
    tensors[A_WEIGHT.replace(".0.", ".9.")] = tensors.pop(A_WEIGHT)
    tensors[B_WEIGHT.replace(".0.", ".9.")] = tensors.pop(B_WEIGHT)


@pytest.mark.parametrize(
    ("change", "want"),
    [
        pytest.param(lambda s, t: s.update(r=5), r"ranks differ .*A has 4.*says 5", id="rank"),
        pytest.param(lambda s, t: t.pop(B_WEIGHT), "only one half of", id="half-an-update"),
        pytest.param(_another_name, r"layers\.9\..*no such tensor", id="unknown-layer"),
        pytest.param(
            lambda s, t: t.update({B_WEIGHT: t[B_WEIGHT][:16]}),
            r"\[16, 64\]; the base has one of shape \[64, 64\]",
            id="another-shape",
        ),
        pytest.param(
            lambda s, t: t.update({"base_model.model.extra.weight": t[A_WEIGHT]}),
            r"extra\.weight .*fits no tensor",
            id="superfluous-tensor",
        ),
        pytest.param(
            lambda s, t: s.update(use_dora=True), "magnitudes of .* contradict", id="no-magnitudes"
        ),
        pytest.param(
            lambda s, t: s.update(lora_bias=True), "biases of its own", id="biases-of-its-own"
        ),
        pytest.param(
            lambda s, t: s.update(target_parameters=["x"]), "single parameters", id="parameters"
        ),
        pytest.param(
            lambda s, t: t.update({TOKENS: np.ones((2, 64), np.float32)}),
            "embed_tokens has 2 trained tokens, adapter_config.json names 0",
            id="unknown-tokens",
        ),
        pytest.param(_token_beyond, "1 trained tokens fit no model.embed_tokens", id="token"),
        pytest.param(lambda s, t: s.update(peft_type="LOHA"), "a LOHA adapter", id="another-kind"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused(
    change: Change, want: str, handoff: Handoff, tmp_path: Path
) -> None:
    damaged = _changed(handoff, tmp_path, change)

    with pytest.raises(RunFailedError, match=want):
        merged_tensors(damaged.base, damaged.adapter)


def test_a_diverged_adapter_is_found_when_its_tensor_is_merged(
    handoff: Handoff, tmp_path: Path
) -> None:
    damaged = _changed(handoff, tmp_path, lambda s, t: t[A_WEIGHT].fill(np.inf))
    tensors = {tensor.name: tensor for tensor in merged_tensors(damaged.base, damaged.adapter)}

    with pytest.raises(RunFailedError, match=r"q_proj.weight is not finite"):
        tensors["model.layers.0.self_attn.q_proj.weight"].load()
    with pytest.raises(RunFailedError, match=r"lora_A.weight of the adapter is not finite"):
        check_finite(read_adapter(damaged.adapter), str(damaged.adapter))


@pytest.mark.parametrize(
    ("content", "want"),
    [
        pytest.param(b"not a header", "not a safetensors file", id="no-header"),
        pytest.param(None, "cut short", id="cut-short"),
    ],
)
def test_a_damaged_base_is_refused(
    content: bytes | None, want: str, handoff: Handoff, tmp_path: Path
) -> None:
    whole = (handoff.base / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(content or whole[:-100])
    (tmp_path / "config.json").write_bytes((handoff.base / "config.json").read_bytes())

    with pytest.raises(RunFailedError, match=want):
        merged_tensors(tmp_path, handoff.adapter)


def test_a_missing_shard_is_named(handoff: Handoff, tmp_path: Path) -> None:
    save_merged(handoff.base, handoff.adapter, handoff.adapter, tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model-00002-of-00002.safetensors"}}))

    with pytest.raises(RunFailedError, match="missing shard model-00002-of-00002"):
        merged_tensors(tmp_path, handoff.adapter)


def _changed(handoff: Handoff, tmp_path: Path, change: Change) -> Handoff:
    damaged = handoff.with_copy(tmp_path / "adapter")
    settings = json.loads((damaged.adapter / "adapter_config.json").read_text())
    weights = damaged.adapter / "adapter_model.safetensors"
    tensors = {name: values.copy() for name, values in load_file(weights).items()}
    change(settings, tensors)
    (damaged.adapter / "adapter_config.json").write_text(json.dumps(settings))
    save_file(tensors, weights)
    return damaged


def test_a_changed_tensor_knows_what_it_was_before(tiny_base: Path, tmp_path: Path) -> None:
    targets, whole = ["q_proj"], ["lm_head"]
    adapter = make_adapter(
        tiny_base, tmp_path / "adapter", target_modules=targets, modules_to_save=whole
    )
    base = read_folder(tiny_base)

    merged = {tensor.name: tensor for tensor in merged_tensors(tiny_base, adapter)}

    before = {name: tensor.base for name, tensor in merged.items() if tensor.base}
    assert before.keys() == {name for name in base if "q_proj" in name}
    for name, load in before.items():
        np.testing.assert_array_equal(load(), base[name].load())
        assert np.abs(merged[name].load() - base[name].load()).max() > 0


def test_a_disk_without_room_is_refused_with_the_numbers(tmp_path: Path) -> None:
    huge = Tensor("model.embed_tokens.weight", (10**8, 10**7), lambda: np.zeros(0, np.float32))

    check_room(tmp_path, [], ["f16"])
    with pytest.raises(StorageError, match=r"need about 2268750\.0 GB, and .* GB are free"):
        check_room(tmp_path, [huge], ["f16", "iq1_m"])


def test_a_format_that_needs_scales_is_refused(tmp_path: Path) -> None:
    header = {"a.weight": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}
    text = json.dumps(header).encode()
    file = tmp_path / "model.safetensors"
    file.write_bytes(len(text).to_bytes(8, "little") + text + bytes(4))

    with pytest.raises(RunFailedError, match=r"a\.weight is stored as F8_E4M3"):
        read_folder(tmp_path)


def test_only_the_files_of_the_index_are_read(tiny_base: Path, tmp_path: Path) -> None:
    """Some models come twice: in one file for other programs, and in shards."""
    whole = load_file(tiny_base / "model.safetensors")
    save_file(whole, tmp_path / "model-00001-of-00001.safetensors")
    save_file({"tok_embeddings.weight": np.ones(4, np.float32)}, tmp_path / "other.safetensors")
    weights = dict.fromkeys(whole, "model-00001-of-00001.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weights}))

    assert read_folder(tmp_path).keys() == whole.keys()
