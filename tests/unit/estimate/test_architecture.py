"""What config.json tells of a model, and what of it is trained."""

from __future__ import annotations

import pytest

from ftctl.contract.spec import Config, ModelConfig
from ftctl.estimate.architecture import Architecture, Linear, from_config
from ftctl.estimate.load import Load
from ftctl.estimate.memory import phases
from ftctl.estimate.trained import state_bytes, trained_weights
from tests.unit.estimate.shapes import LLAMA_8B, SMOLLM2, config


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
