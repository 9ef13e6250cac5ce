"""Memory, held against what was measured on real cards and machines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ftctl.contract.spec import Config, ModelConfig
from ftctl.errors import ConfigError
from ftctl.estimate.activations import Forward, kept_bytes
from ftctl.estimate.architecture import Architecture, Linear, from_config
from ftctl.estimate.facts import Rows
from ftctl.estimate.fits import check_fits
from ftctl.estimate.host import MAIN_SHARE, train_host
from ftctl.estimate.load import Load, load_of
from ftctl.estimate.memory import forward_of, phases, resident_bytes
from ftctl.estimate.run import estimate_run
from ftctl.estimate.trained import state_bytes, trained_weights

GIB = 2**30
SEVEN = tuple(ModelConfig().lora_target_modules)
# The llama of 8.04B weights that the figures below were measured with.
LLAMA_8B = Architecture("llama", 32, 4096, 14336, 32, 8, 128, 129_024)
LLAMA_3B = Architecture("llama", 28, 3072, 8192, 24, 8, 128, 129_024)
LLAMA_1B = Architecture("llama", 16, 2048, 8192, 32, 8, 64, 129_024)
HEAD = {"modules_to_save": ["lm_head"]}
SMOLLM2 = Architecture("llama", 30, 576, 1536, 9, 3, 64, 49_152, tied=True)


def config(**sections: dict[str, Any]) -> Config:
    """A configuration with an adapter only, on one GPU."""
    return Config.model_validate({"model": {"modules_to_save": []}, **sections})


class TestArchitecture:
    @pytest.mark.parametrize(
        ("shape", "parameters"),
        [
            pytest.param(LLAMA_8B, 8_036_552_704, id="llama-8b"),
            pytest.param(SMOLLM2, 134_515_008, id="smollm2-135m-tied"),
        ],
    )
    def test_counts_every_weight(self, shape: Architecture, parameters: int) -> None:
        assert shape.parameters == parameters

    def test_is_read_from_the_config_of_a_mixture_of_experts(self) -> None:
        shape = from_config(
            {
                "model_type": "qwen3_moe",
                "hidden_size": 2048,
                "num_hidden_layers": 48,
                "num_attention_heads": 32,
                "num_key_value_heads": 4,
                "head_dim": 128,
                "intermediate_size": 6144,
                "moe_intermediate_size": 768,
                "num_experts": 128,
                "num_experts_per_tok": 8,
                "vocab_size": 151_936,
                "tie_word_embeddings": False,
            }
        )
        assert shape is not None
        assert shape.parameters / 1e9 == pytest.approx(30.5, rel=0.01)
        assert (shape.active_weights + shape.other_weights) / 1e9 == pytest.approx(3.3, rel=0.03)

    def test_takes_the_language_model_of_one_that_also_sees(self) -> None:
        text = {
            "model_type": "gemma3_text",
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 128,
            "vocab_size": 100,
        }
        shape = from_config({"model_type": "gemma3", "vision_config": {}, "text_config": text})
        assert shape == Architecture("gemma3_text", 2, 64, 128, 4, 4, 16, 100, tied=True)

    def test_knows_older_names_and_feed_forwards_without_a_gate(self) -> None:
        shape = from_config(
            {"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 2, "vocab_size": 10}
        )
        assert shape is not None
        assert shape.linears[4:] == (Linear("up_proj", 8, 32), Linear("down_proj", 32, 8))

    def test_is_none_where_sizes_are_missing(self) -> None:
        assert from_config({"model_type": "mamba", "hidden_size": 64}) is None


class TestTrainedWeights:
    def test_a_trained_lm_head_of_8b_is_2_1_gb_in_float32_and_as_much_gradient(self) -> None:
        shape = Architecture("llama", 32, 4096, 14336, 32, 8, 128, 128_256)
        found = phases(shape, Config(), Load(1, 512, 512), recompute=True)[0].parts
        lean = phases(shape, config(), Load(1, 512, 512), recompute=True)[0].parts
        assert found["layers trained whole"] / 1e9 == pytest.approx(2.1, rel=0.01)
        assert (found["gradients"] - lean["gradients"]) / 1e9 == pytest.approx(2.1, rel=0.01)
        assert "layers trained whole" not in lean

    def test_an_adapter_has_rank_times_both_sides_of_every_matrix(self) -> None:
        assert trained_weights(LLAMA_8B, config().model).lora == 41_943_040
        assert trained_weights(SMOLLM2, config().model).lora == 4_884_480

    def test_layers_that_config_json_does_not_show_are_named(self) -> None:
        model = ModelConfig(lora_target_modules=["q_proj", "wqkv"], modules_to_save=["score"])
        assert trained_weights(LLAMA_8B, model).unknown == ("wqkv", "score")

    @pytest.mark.parametrize(
        ("name", "gpu", "expected"),
        [
            pytest.param("adamw_torch", True, 8, id="two-moments"),
            pytest.param("paged_adamw_8bit", True, 2.03125, id="in-8-bits"),
            pytest.param("paged_adamw_8bit", False, 8, id="not-on-a-cpu"),
            pytest.param("lion_32bit", True, 4, id="one-moment"),
            pytest.param("adafactor", True, 0, id="factored"),
            pytest.param("something_new", True, 8, id="unknown-as-adamw"),
        ],
    )
    def test_optimizers_keep_state(self, name: str, gpu: bool, expected: float) -> None:
        assert state_bytes(name, gpu=gpu) == expected


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

    @pytest.mark.parametrize(
        ("dropout", "rooms"), [pytest.param(0.1, 1, id="dropout"), pytest.param(0, 2, id="none")]
    )
    def test_main_memory_takes_what_waits_there(self, dropout: float, rooms: int) -> None:
        settings = config(
            model={"modules_to_save": [], "lora_dropout": dropout},
            training={"gradient_checkpointing": "offload"},
        )
        load = Load(1, 8_192, 8_192)
        parts = train_host(LLAMA_8B, settings, load)
        # 64 MiB what enters halves and what attention makes, 96 q, k and v; gates 448, of a third.
        # x A', of 64 numbers each; without dropout gates have room for their own twice.
        lows = 2**20 * (32 * 4 + 11 * rooms)
        assert parts["activations"] == 2**20 * (32 * (3 * 64 + 96) + 11 * 448) + lows
        assert "activations" not in train_host(LLAMA_8B, config(), load)

    @pytest.mark.parametrize("gpus", [1, 4])
    def test_the_trainers_share_of_what_is_free_has_room_for_what_waits(self, gpus: int) -> None:
        settings = config(
            training={"gradient_checkpointing": "offload"},
            cluster={"gpus": gpus},
        )
        parts = estimate_run(settings, LLAMA_8B, None).train_host
        # The rest may be in use when training begins.
        free = parts["activations"] + parts["free beside activations"]
        assert free * MAIN_SHARE >= parts["activations"]
        assert free * MAIN_SHARE == pytest.approx(parts["activations"])


class TestFits:
    def test_what_fits_or_is_not_known_is_not_refused(self) -> None:
        estimate = estimate_run(config(), LLAMA_8B, None)
        check_fits(estimate, 80 * GIB)
        check_fits(estimate, None)
        check_fits(estimate_run(config(), None, None), GIB)

    def test_what_does_not_fit_is_refused_with_what_would_help(self) -> None:
        settings = config(
            training={"gradient_checkpointing": False, "per_device_train_batch_size": 16}
        )
        estimate = estimate_run(settings, LLAMA_8B, None)
        with pytest.raises(ConfigError) as refused:
            check_fits(estimate, 79 * GIB)
        assert refused.value.what.startswith("training needs about ")
        assert "one GPU has 79.0 GiB: activations " in refused.value.what
        assert refused.value.hint is not None
        assert refused.value.hint.startswith(
            "Any one of these makes it fit: training.gradient_checkpointing=true (saves "
        )

    def test_settings_that_do_not_suffice_alone_are_offered_as_such(self) -> None:
        estimate = estimate_run(Config(), LLAMA_8B, None)
        with pytest.raises(ConfigError, match="reference needs about") as refused:
            check_fits(estimate, 8 * GIB)
        assert refused.value.hint is not None
        assert refused.value.hint == (
            "These make it smaller, each alone too little: training.max_seq_length=1024 (saves "
            "2.4 GiB), model.modules_to_save=[] (saves 2.0 GiB); or take a larger GPU."
        )

    def test_every_saving_that_is_offered_is_what_it_saves(self) -> None:
        settings = {"gradient_checkpointing": False, "per_device_train_batch_size": 4}
        before = estimate_run(Config.model_validate({"training": settings}), LLAMA_8B, None)
        lean = {"training": settings, "model": {"modules_to_save": []}}
        after = estimate_run(Config.model_validate(lean), LLAMA_8B, None)
        assert before.peak is not None
        assert after.peak == before.peak - before.savings["model.modules_to_save=[]"]


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
