from typing import Any

import pytest

from ftctl.config.sources import Layer, Sources
from ftctl.config.validate import check, refuse_unavailable
from ftctl.contract.spec import Config
from ftctl.errors import ConfigError


def checked(values: dict[str, Any]) -> Config:
    return check(values, lambda: Sources((Layer("my.yaml", 0, values),)), {})


def test_a_good_configuration_is_a_config() -> None:
    assert checked({"training": {"seed": 7}}).training.seed == 7


@pytest.mark.parametrize(
    ("values", "want"),
    [
        pytest.param(
            {"model": {"lora_r": 0}},
            "model.lora_r is 0; allowed: a whole number, at least 1 and at most 1024",
            id="out-of-range",
        ),
        pytest.param(
            {"training": {"learning_rate": "fast"}},
            "training.learning_rate is 'fast'; allowed: a number, above 0 and at most 1",
            id="wrong-type",
        ),
        pytest.param(
            {"training": {"gradient_checkpointing": "maybe"}},
            "training.gradient_checkpointing is 'maybe'; "
            "allowed: true or false or one of auto, offload",
            id="a-union-is-one-problem",
        ),
        pytest.param(
            {"model": {"lora_rank": 8}},
            "there is no key model.lora_rank\n"
            "Did you mean model.lora_r? `ftctl config explain model` lists the keys.",
            id="unknown-key",
        ),
        pytest.param(
            {"paths": {"venv_python_path": "x"}},
            "paths.venv_python_path has no meaning here\n"
            "The stages run with the Python that runs ftctl; leave it out.",
            id="replaced-key",
        ),
        pytest.param(
            {"experiment": {"training": {}}},
            "an experiment's keys belong at the top level\n"
            "Write `# @package _global_` on the first line of its file.",
            id="experiment-without-its-first-line",
        ),
        pytest.param(
            {"paths": "x"}, "paths is 'x'; allowed: a mapping", id="a-value-for-a-section"
        ),
        pytest.param(
            {"cluster": {"env": {"A": 1}}},
            "cluster.env.A is 1; allowed: input should be a valid string",
            id="inside-an-open-mapping",
        ),
        pytest.param(
            {"dataset": {"train": ["a", 3]}},
            "dataset.train is ['a', 3]; allowed: text or a list of text or null",
            id="inside-a-list",
        ),
        pytest.param(
            {"quantize": {"verify": {"thresholds": {"q4_1": {}}}}},
            "4 problems in the configuration\n"
            + "\n".join(
                f"  my.yaml: quantize.verify.thresholds.q4_1.{key} has no value. "
                f"Set it: quantize.verify.thresholds.q4_1.{key}=VALUE."
                for key in ("mean_kl", "p99_kl", "top1_agreement", "perplexity_ratio")
            ),
            id="missing",
        ),
        pytest.param(
            {"training": {"fp16": True, "bf16": True}},
            "training: fp16 and bf16 are both true; set one of them, or training.compute",
            id="contradiction",
        ),
    ],
)
def test_a_problem_says_where_what_and_what_is_allowed(values: dict[str, Any], want: str) -> None:
    with pytest.raises(ConfigError) as caught:
        checked(values)
    text = str(caught.value)
    assert text == (want if want.startswith("4 ") else f"my.yaml: {want}")


@pytest.mark.parametrize(
    ("outfile", "message"),
    [
        pytest.param("merged/bot.gguf", "is a path, .* paths.final_weights_path", id="path"),
        pytest.param("merged\\bot.gguf", "is a path", id="path-of-windows"),
        pytest.param(".gguf", "is no file name", id="suffix-alone"),
        pytest.param("", "is no file name", id="empty"),
        pytest.param("..", "is no file name", id="dots"),
        pytest.param("a\nb", "is no file name", id="line-break"),
        pytest.param("x" * 201, "is no file name", id="too-long"),
        pytest.param("б" * 101, "is no file name", id="too-many-bytes"),
    ],
)
def test_an_output_file_that_could_not_be_published_is_refused(outfile: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"(?s)model.outfile: .*{message}"):
        checked({"model": {"outfile": outfile}})


@pytest.mark.parametrize("outfile", ["bot.gguf", "bot", "б" * 100, "Bot v1.2", "x" * 200 + ".gguf"])
def test_an_output_file_is_any_plain_name(outfile: str) -> None:
    assert checked({"model": {"outfile": outfile}}).model.outfile == outfile


def test_an_unknown_quantization_type_is_answered_with_the_nearest() -> None:
    with pytest.raises(
        ConfigError, match="unknown quantization type 'q4_km'; known: f32"
    ) as caught:
        checked({"model": {"qtype": ["q4_1", "q4_km"]}})
    assert caught.value.hint == "Did you mean q4_k_m?"


def test_only_what_is_set_is_named() -> None:
    config = checked(
        {
            "training": {"packing": True, "method": "sft"},
            "model": {"use_8bit": True},
            "quantize": {"merge_base": "nf4"},
            "cluster": {"gpus": 2, "shard": True},
        }
    )
    with pytest.raises(ConfigError) as caught:
        refuse_unavailable(config)
    assert str(caught.value) == (
        "2 problems in the configuration\n"
        "  quantize.merge_base=nf4 with model.use_8bit is not available in this version. "
        "Leave it at its default.\n"
        "  cluster.shard with model.use_8bit is not available in this version. "
        "Leave it at its default."
    )


def test_a_gguf_of_the_adapter_holds_no_layer_that_is_trained_whole() -> None:
    config = checked({"quantize": {"adapter_gguf": True}})
    with pytest.raises(ConfigError) as caught:
        refuse_unavailable(config)
    assert str(caught.value) == (
        "quantize.adapter_gguf=true holds LoRA alone, and lm_head is trained whole\n"
        "Set model.modules_to_save=[], or leave quantize.adapter_gguf at its default."
    )

    plain = {"model": {"modules_to_save": []}, "quantize": {"adapter_gguf": True}}
    refuse_unavailable(checked(plain))


def test_what_only_the_last_stage_would_refuse_is_refused_before_training() -> None:
    config = checked(
        {
            "model": {"qtype": ["q8_0", "iq1_s"], "use_8bit": True},
            "quantize": {"merge_base": "best"},
        }
    )
    with pytest.raises(ConfigError) as caught:
        refuse_unavailable(config)
    assert str(caught.value) == (
        "2 problems in the configuration\n"
        "  quantize.merge_base=best with model.use_8bit is not available in this version. "
        "Leave it at its default.\n"
        "  model.qtype=iq1_s needs an importance matrix. "
        "Set quantize.imatrix=true, or choose a type of more bits: q4_k_m, iq4_xs."
    )


@pytest.mark.parametrize(
    ("values", "named"),
    [
        pytest.param(
            {"training": {"method": "grpo"}, "cluster": {"gpus": 2, "shard": True}},
            "cluster.shard with training.method=grpo",
            id="answers-of-any-length",
        ),
        pytest.param(
            {"model": {"use_8bit": True}, "cluster": {"nodes": 2, "shard": True}},
            "cluster.shard with model.use_8bit",
            id="8-bits",
        ),
        pytest.param(
            {"training": {"method": "dpo", "group_by_length": True}, "cluster": {"gpus": 2}},
            "training.group_by_length with training.method=dpo on several devices",
            id="pairs-by-length",
        ),
        pytest.param(
            {
                "training": {"method": "kto", "per_device_train_batch_size": 4},
                "cluster": {"gpus": 2},
            },
            "training.method=kto on several devices",
            id="answers-measured-by-others",
        ),
    ],
)
def test_what_several_devices_cannot_do_is_refused(values: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=f"{named} is not available"):
        refuse_unavailable(checked(values))


def test_kto_wants_other_answers_in_a_pass() -> None:
    with pytest.raises(ConfigError, match="method=kto needs per_device_train_batch_size=2 at"):
        checked({"training": {"method": "kto", "per_device_train_batch_size": 1}})


def test_one_device_has_nothing_to_split() -> None:
    refuse_unavailable(checked({"training": {"method": "grpo"}, "cluster": {"shard": True}}))
