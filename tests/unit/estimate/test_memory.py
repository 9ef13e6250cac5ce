"""Memory, held against what was measured on real cards and machines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ftctl.contract.spec import Config, ModelConfig
from ftctl.estimate.activations import Forward, kept_bytes
from ftctl.estimate.architecture import Architecture
from ftctl.estimate.facts import Rows
from ftctl.estimate.load import Load, load_of
from ftctl.estimate.memory import forward_of, phases, resident_bytes
from tests.unit.estimate.shapes import GIB, LLAMA_1B, LLAMA_3B, LLAMA_8B, SMOLLM2, config

SEVEN = tuple(ModelConfig().lora_target_modules)
HEAD = {"modules_to_save": ["lm_head"]}


class TestAgainstMeasurements:
    @pytest.mark.parametrize(
        ("tokens", "measured_gib"),
        [
            pytest.param(8_192, 30.2, id="8k"),
            pytest.param(12_288, 42.1, id="12k"),
            pytest.param(16_384, 53.7, id="16k"),
        ],
    )
    def test_the_fast_layers_on_a_gpu(self, tokens: int, measured_gib: float) -> None:
        """A bare loop with AdamW in float32: allocated, without CUDA's context."""
        parts = self._training_parts(tokens, recompute=False, optim="adamw_torch")
        left_out = ("CUDA context", "fragmentation")
        total = sum(size for name, size in parts.items() if name not in left_out)
        assert total / GIB == pytest.approx(measured_gib, rel=0.1)

    @pytest.mark.parametrize(
        ("tokens", "measured_gib"),
        [
            pytest.param(8_192, 9.6, id="8k"),
            pytest.param(13_312, 11.6, id="13k"),
            pytest.param(16_384, 12.8, id="16k"),
            pytest.param(32_768, 19.0, id="32k"),
        ],
    )
    def test_the_fast_layers_on_a_gpu_computed_again(
        self, tokens: int, measured_gib: float
    ) -> None:
        """The train stage: reserved, without CUDA's context (benchmarks/RESULTS.md)."""
        parts = self._training_parts(tokens, recompute=True, optim="paged_adamw_8bit")
        total = sum(size for name, size in parts.items() if name != "CUDA context")
        assert total / GIB == pytest.approx(measured_gib, rel=0.1)

    @pytest.mark.parametrize(
        ("shape", "tokens", "settings", "measured_gib"),
        [
            pytest.param(LLAMA_8B, 4_096, {}, 8.5, id="8b"),
            pytest.param(LLAMA_8B, 4_096, {"model": {"lora_r": 64}}, 10.3, id="8b-rank-64"),
            pytest.param(LLAMA_8B, 8_192, {"training": {"compute": "fp8"}}, 9.9, id="8b-fp8"),
            pytest.param(LLAMA_1B, 16_384, {}, 4.1, id="1b"),
            pytest.param(LLAMA_1B, 4_096, {"model": HEAD}, 7.6, id="1b-output-layer"),
            pytest.param(LLAMA_3B, 16_384, {}, 7.8, id="3b"),
            pytest.param(LLAMA_3B, 8_192, {"model": {"lora_r": 32}}, 6.6, id="3b-rank-32"),
            pytest.param(LLAMA_3B, 4_096, {"model": HEAD}, 12.3, id="3b-output-layer"),
        ],
    )
    def test_settings_that_the_formulas_were_not_made_from(
        self, shape: Architecture, tokens: int, settings: dict[str, Any], measured_gib: float
    ) -> None:
        """As above; AdamW in float32."""
        sections: dict[str, dict[str, Any]] = {
            "model": {"modules_to_save": [], "lora_dropout": 0},
            "training": {"optim": "adamw_torch_fused", "gradient_accumulation_steps": 1},
        }
        for name, more in settings.items():
            sections[name] = sections[name] | more
        found = phases(shape, config(**sections), Load(1, tokens, tokens), recompute=True)
        parts = next(phase for phase in found if phase.name == "training").parts
        total = sum(size for name, size in parts.items() if name != "CUDA context")
        assert total / GIB == pytest.approx(measured_gib, rel=0.05)

    def test_the_reference_settings(self) -> None:
        """Reserved was 14.5 GiB; pages of the optimizer's state are not PyTorch's."""
        settings = Config.model_validate({"model": {"lora_dropout": 0.1}})
        rows = Rows(train=[2048, 300, 400, 500], answers=2048, exact=True)
        found = phases(LLAMA_8B, settings, load_of(settings, rows), recompute=True)
        parts = next(phase for phase in found if phase.name == "training").parts
        left_out = ("CUDA context", "optimizer")
        total = sum(size for name, size in parts.items() if name not in left_out)
        assert total / GIB == pytest.approx(14.5, rel=0.05)

    def _training_parts(self, tokens: int, *, recompute: bool, optim: str) -> dict[str, int]:
        settings = config(
            model={"modules_to_save": [], "lora_dropout": 0},
            training={"optim": optim, "per_device_train_batch_size": 1},
        )
        found = phases(LLAMA_8B, settings, Load(1, tokens, tokens), recompute=recompute)
        return next(phase for phase in found if phase.name == "training").parts

    def test_the_fast_layers_keep_inputs_heads_and_gates(self) -> None:
        """What enters each half, q, k and v, what attention made, gate and up: of a token."""
        kept = kept_bytes(LLAMA_8B, SEVEN, 1, 1, Forward(kernels="fast"), recompute=False)
        assert kept == 32 * 2 * (2 * 4096 + (4096 + 2 * 1024) + 4096 + 2 * 14336)

    @pytest.mark.parametrize(
        ("family", "settings", "want"),
        [
            pytest.param("llama", {}, "fast", id="known"),
            pytest.param("gemma3_text", {}, "plain", id="unknown"),
            pytest.param("llama", {"cluster": {"gpus": 0}}, "plain", id="on-a-cpu"),
            pytest.param("llama", {"model": {"use_8bit": True}}, "plain", id="8-bit"),
            pytest.param("llama", {"model": {"use_dora": True}}, "plain", id="dora"),
            pytest.param("llama", {"cluster": {"gpus": 2, "shard": True}}, "plain", id="split"),
        ],
    )
    def test_the_layers_are_those_the_trainer_takes(
        self, family: str, settings: dict[str, Any], want: str
    ) -> None:
        shape = replace(LLAMA_8B, family=family)
        assert forward_of(shape, config(**settings)).kernels == want

    def test_plain_kernels_on_a_cpu(self) -> None:
        kernels = Forward(autocast=False)
        kept = kept_bytes(SMOLLM2, SEVEN, 8, 1_887, kernels, recompute=False)
        assert kept / 1e9 == pytest.approx(20, rel=0.15)

    def test_the_quickstart_on_a_cpu(self) -> None:
        settings = config(
            model={"modules_to_save": [], "lora_dropout": 0, "attn_implementation": "eager"},
            training={"per_device_train_batch_size": 8},
            testing={"test": True, "max_new_tokens": 40, "batch_size": 32},
            cluster={"gpus": 0},
        )
        found = phases(SMOLLM2, settings, Load(8, 117, 42), recompute=False)
        by_name = {phase.name: phase.total for phase in found}
        assert by_name["training"] / GIB == pytest.approx(3.64, rel=0.15)
        assert max(by_name.values()) / 1e9 == pytest.approx(4.7, rel=0.15)

    def test_the_base_of_the_8b_llama_in_4_bits(self) -> None:
        # 43 GiB at 8,192 tokens and 62 at 12,288 leave 5 GiB at none.
        assert resident_bytes(LLAMA_8B, config()) / GIB == pytest.approx(5.4, rel=0.05)


class TestTogether:
    """Rows of a step go through the fast layers together, as far as they may."""

    @pytest.mark.parametrize(
        ("training", "tokens"),
        [
            pytest.param({}, 1_700, id="all-rows-of-a-step"),
            pytest.param({"max_seq_length": 900}, 900, id="as-far-as-a-row-may-reach"),
            pytest.param({"gradient_accumulation_steps": 1}, 800, id="one-row"),
            pytest.param({"packing": True}, 2_048, id="packed-rows-are-full"),
            pytest.param({"neftune_noise_alpha": 5}, 800, id="noise-is-by-row"),
            pytest.param({"method": "dpo"}, 1_600, id="pairs"),
        ],
    )
    def test_tokens_of_a_pass(self, training: dict[str, Any], tokens: int) -> None:
        rows = Rows(train=[100, 800, 500, 300, 90], answers=100, exact=True)
        assert load_of(config(training=training), rows).tokens == tokens


class TestASplitBase:
    def test_each_device_holds_its_part_and_two_layers_and_loads_the_whole(self) -> None:
        split = config(cluster={"gpus": 4, "shard": True})
        load = Load(1, 512, 512)
        loading, training, *rest = phases(LLAMA_8B, split, load, recompute=True)
        [whole, *_] = phases(LLAMA_8B, config(), load, recompute=True)
        base = whole.parts["base in 4 bits"]

        assert [phase.name for phase in (loading, training)] == ["loading", "training"]
        assert loading.parts["base in 4 bits"] == base
        assert training.parts["base in 4 bits"] == pytest.approx(base / 4, abs=1)
        assert training.parts["layers gathered"] == pytest.approx(base * 2 / 32, abs=1)
        assert training.parts["adapter"] == whole.parts["adapter"]
        assert "reference" not in [phase.name for phase in rest]

    def test_one_device_alone_has_all_of_it(self) -> None:
        load = Load(1, 512, 512)
        assert phases(LLAMA_8B, config(cluster={"shard": True}), load, recompute=True) == phases(
            LLAMA_8B, config(), load, recompute=True
        )
