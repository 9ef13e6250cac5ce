"""What makes a run another run, and what does not."""

from __future__ import annotations

from typing import Any

import pytest

from ftctl.contract.identity import content_hash, deciding
from ftctl.contract.names import DNS_LABEL_LENGTH, is_run_id, run_id, run_name
from ftctl.contract.spec import Config
from ftctl.errors import ConfigError

# Every key that decides a result. A new key belongs here, or to what is left out in identity.py.
DECIDING = {
    "model": "lora_r lora_alpha lora_dropout lora_target_modules modules_to_save qtype torch_dtype "
    "attn_implementation use_8bit outfile train_steps trust_remote_code",
    "training": "method per_device_train_batch_size per_device_eval_batch_size "
    "gradient_accumulation_steps learning_rate lr_scheduler_type max_seq_length num_train_epochs "
    "max_steps eval_steps warmup_steps fp16 bf16 weight_decay max_grad_norm optim "
    "neftune_noise_alpha save_steps load_best group_by_length packing seed deterministic compute",
    "testing": "test max_new_tokens limit",
    "dataset": "template always_allowed_actions assistant_only shuffle",
    "quantize": "imatrix verify merge_base save_merged split_gb modelfile",
}
INPUTS = {"model": "org/model", "revision": "a" * 40, "data_digest": "d" * 64, "template": "t"}


def digest(config: dict[str, Any] | None = None, **inputs: str) -> str:
    """The content hash of a config that differs from the defaults by `config`."""
    chosen: dict[str, Any] = {**INPUTS, **inputs}
    return content_hash(deciding(Config.model_validate(config or {}), **chosen))


@pytest.mark.parametrize(
    "config",
    [
        pytest.param({"training": {"seed": 43}}, id="seed"),
        pytest.param({"training": {"learning_rate": 1e-4}}, id="learning-rate"),
        pytest.param({"model": {"lora_r": 8}}, id="rank"),
        pytest.param({"model": {"qtype": "q8_0"}}, id="quantization"),
        pytest.param({"dataset": {"assistant_only": False}}, id="labels"),
        pytest.param({"testing": {"test": True}}, id="testing"),
    ],
)
def test_what_decides_the_result_makes_another_run(config: dict[str, Any]) -> None:
    assert digest(config) != digest()


def test_the_keys_that_decide_are_these_and_no_others() -> None:
    inputs = deciding(Config(), model=None, revision="r", data_digest="d", template="t")
    sections = {name: " ".join(keys) for name, keys in inputs.items() if isinstance(keys, dict)}
    assert sections == DECIDING
    assert set(inputs) - set(sections) == {
        "pipeline", "model_name", "revision", "data", "template", "nonce"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("method", "key"),
    [
        ("dpo", {"dpo": {"beta": 0.5}}),
        ("orpo", {"orpo": {"beta": 0.5}}),
        ("kto", {"kto": {"undesirable_weight": 0.5}}),
        ("grpo", {"grpo": {"beta": 0.5}}),
    ],
)
def test_the_settings_of_a_method_decide_where_it_is_used(method: str, key: dict[str, Any]) -> None:
    used = {"training": {"method": method, "per_device_train_batch_size": 2}}
    assert digest({**used, **key}) != digest(used)
    assert digest(key) == digest()


def test_the_hash_is_of_the_content_in_any_order() -> None:
    assert content_hash({"a": 1, "b": {"c": 2, "d": 3}}) == content_hash(
        {"b": {"d": 3, "c": 2}, "a": 1}
    )


@pytest.mark.parametrize(
    "config",
    [
        pytest.param({"cluster": {"gpus": 8, "namespace": "ml"}}, id="cluster"),
        pytest.param({"storage": {"url": "s3://b/p", "region": "x"}}, id="storage"),
        pytest.param({"tracking": {"project": "other"}}, id="tracking"),
        pytest.param({"paths": {"output_dir": "/elsewhere"}}, id="paths"),
        pytest.param({"training": {"logging_steps": 1, "save_total_limit": 1}}, id="logging"),
        pytest.param({"dataset": {"train": "elsewhere.json"}}, id="place-of-the-data"),
        pytest.param({"name": "other"}, id="name"),
        pytest.param(
            {
                "quantize": {
                    "verify": {
                        "thresholds": {
                            "q2_k": {
                                "mean_kl": 1,
                                "p99_kl": 8,
                                "top1_agreement": 0.5,
                                "perplexity_ratio": 3,
                            }
                        }
                    }
                }
            },
            id="limits-of-a-type-not-exported",
        ),
    ],
)
def test_where_and_how_a_run_happens_does_not(config: dict[str, Any]) -> None:
    assert digest(config) == digest()


@pytest.mark.parametrize(
    "inputs",
    [
        pytest.param({"data_digest": "e" * 64}, id="row"),
        pytest.param({"revision": "b" * 40}, id="commit"),
        pytest.param({"model": "org/other"}, id="model"),
        pytest.param({"template": "u"}, id="prompt-layout"),
        pytest.param({"nonce": "1"}, id="nonce"),
    ],
)
def test_other_inputs_make_another_run(inputs: dict[str, Any]) -> None:
    assert digest(**inputs) != digest()


def test_a_default_written_out_changes_nothing() -> None:
    assert digest({"model": {"lora_alpha": 32}, "training": {"seed": 42}}) == digest()


@pytest.mark.parametrize(
    ("text", "want"),
    [
        pytest.param("Support Bot", "support-bot", id="spaces-and-capitals"),
        pytest.param("7b", "r-7b", id="starts-with-a-digit"),
        pytest.param("modèle", "modele", id="accents"),
        pytest.param("../../x", "x", id="path"),
        pytest.param("a" * 300, "a" * 30, id="long"),
    ],
)
def test_run_names_are_labels(text: str, want: str) -> None:
    assert run_name(text) == want


def test_a_name_without_a_latin_letter_is_refused() -> None:
    with pytest.raises(ConfigError, match="no run name can be made from 'помощник'"):
        run_name("помощник")


def test_the_longest_object_name_fits_a_label() -> None:
    longest = f"{run_id('a' * 300, 'f' * 64)}-convert-00000-00000"

    assert len(longest) == DNS_LABEL_LENGTH
    assert is_run_id(run_id("a" * 300, "f" * 64))
    assert not is_run_id("../x-0123456789ab")
