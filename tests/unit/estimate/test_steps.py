"""Steps, tokens, time, price and disk."""

from __future__ import annotations

from typing import Any

import pytest

from ftctl.contract.quantity import cpu_cores, quantity, quantity_bytes
from ftctl.contract.spec import Config, TrainingConfig
from ftctl.estimate.architecture import Architecture
from ftctl.estimate.facts import Rows
from ftctl.estimate.host import gguf_bytes
from ftctl.estimate.lengths import estimated_tokens
from ftctl.estimate.load import load_of
from ftctl.estimate.run import estimate_run
from ftctl.estimate.steps import grpo_steps, token_flops, total_steps, trained_tokens
from ftctl.estimate.text import duration, estimate_text
from ftctl.estimate.trained import Trained

LLAMA_8B = Architecture("llama", 32, 4096, 14336, 32, 8, 128, 129_024)
SMOLLM2 = Architecture("llama", 30, 576, 1536, 9, 3, 64, 49_152, tied=True)
NOTHING = Trained(0, 0)


@pytest.mark.parametrize(
    ("settings", "rows", "steps"),
    [
        pytest.param({"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1}, 518,
                     195, id="quickstart"),
        pytest.param({"max_steps": 7}, 518, 7, id="a-number-of-steps"),
        pytest.param({"num_train_epochs": 1}, 10, 3, id="the-last-batch-is-short"),
        pytest.param({"num_train_epochs": 0.01}, 10, 1, id="at-least-one"),
    ],
)  # fmt: skip
def test_counts_steps_as_the_trainer_does(settings: dict[str, Any], rows: int, steps: int) -> None:
    assert total_steps(TrainingConfig(**settings), [20] * rows) == steps


def test_counts_packed_rows_by_the_sequence() -> None:
    training = TrainingConfig(
        packing=True, max_seq_length=100, num_train_epochs=2, gradient_accumulation_steps=1
    )
    lengths = [60, 40, 50, 50, 30]
    assert total_steps(training, lengths) == 2 * 3
    assert trained_tokens(training, lengths, 6) == 2 * 230


def test_counts_tokens_of_cut_rows_in_every_epoch() -> None:
    training = TrainingConfig(max_seq_length=100, num_train_epochs=2)
    assert trained_tokens(training, [50, 150, 80], 2) == 2 * (50 + 100 + 80)


def test_counts_the_rows_that_a_number_of_steps_reaches() -> None:
    training = TrainingConfig(max_steps=3, gradient_accumulation_steps=2)
    assert trained_tokens(training, [10] * 100, 3) == 60


@pytest.mark.parametrize(
    ("recompute", "ceiling"),
    [
        pytest.param(False, 24_700, id="activations-kept"),
        pytest.param(True, 16_400, id="computed-again"),
    ],
)
def test_the_ceiling_of_an_h100_is_the_measured_one(recompute: bool, ceiling: int) -> None:
    """Matrix products alone, at 790 TFLOP/s."""
    found = 790e12 / token_flops(LLAMA_8B, NOTHING, recompute=recompute)
    assert found == pytest.approx(ceiling, rel=0.07)


def test_the_quickstart_takes_the_time_that_it_took() -> None:
    """39,697 tokens an epoch at about 360 tokens/s on two cores."""
    config = Config.model_validate(
        {
            "model": {"modules_to_save": []},
            "training": {
                "per_device_train_batch_size": 8,
                "gradient_accumulation_steps": 1,
                "gradient_checkpointing": "auto",
            },
            "cluster": {"gpus": 0, "resources": {"train": {"cpu": "2"}}},
        }
    )
    rows = Rows(train=[77] * 518, answers=29, exact=True)
    estimate = estimate_run(config, SMOLLM2, rows)
    assert (estimate.steps, estimate.tokens) == (195, 119_658)
    assert estimate.tokens_per_s == pytest.approx(360, rel=0.15)
    assert estimate.seconds == pytest.approx(331, rel=0.15)


def gpu_run(**cluster: Any) -> Config:
    """A run on GPUs that are described as `cluster` says."""
    return Config.model_validate({"training": {"max_steps": 100}, "cluster": cluster})


def test_price_is_the_time_of_all_nodes() -> None:
    rows = Rows(train=[1000] * 4000, exact=True)
    one = estimate_run(gpu_run(gpu_tflops=790, price_per_hour=4), LLAMA_8B, rows)
    two = estimate_run(gpu_run(gpu_tflops=790, price_per_hour=4, nodes=2), LLAMA_8B, rows)
    assert one.seconds is not None
    assert one.price is not None
    assert one.price == pytest.approx(4 * one.seconds / 3600)
    assert two.gpus == 2
    assert two.seconds == pytest.approx(one.seconds / 2)
    assert two.price == pytest.approx(one.price)


def test_time_is_not_made_up_for_a_gpu_that_the_profile_does_not_describe() -> None:
    estimate = estimate_run(gpu_run(price_per_hour=4), LLAMA_8B, Rows(train=[1000] * 400))
    assert (estimate.seconds, estimate.price, estimate.steps) == (None, None, 100)
    assert estimate.notes == [
        "tokens are estimated from characters; a tokenizer at hand would count them",
        "time and price are not known: the profile has no cluster.gpu_tflops",
    ]


def test_what_is_not_known_stays_unknown() -> None:
    estimate = estimate_run(Config(), None, None, notes=("no config.json",))
    assert (estimate.peak, estimate.steps, estimate.memory, estimate.train_disk) == (
        *(None, None, [], {}),
    )
    assert estimate_text(estimate).splitlines()[-1] == "note: no config.json"


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        pytest.param("Could you please turn the kitchen light on?", 9, 13, id="english"),
        pytest.param("Сделай, пожалуйста, свет на кухне поярче", 14, 28, id="russian"),
        pytest.param('{"Content": {"Action": "turn_on"}}', 12, 22, id="json"),
        pytest.param("漢字とかな交じり文", 8, 12, id="japanese"),
        pytest.param("", 0, 0, id="nothing"),
    ],
)
def test_tokens_are_guessed_from_characters(text: str, low: int, high: int) -> None:
    assert low <= estimated_tokens(text) <= high


def test_a_quickstart_gguf_is_about_as_large_as_it_was() -> None:
    # The published Q4_1 file of the base itself has 98 MB, most of it a vocabulary's embedding.
    assert gguf_bytes(SMOLLM2, "q4_1") / 1e6 == pytest.approx(92, rel=0.1)


def test_disk_holds_the_base_unless_a_cache_does() -> None:
    bare = estimate_run(Config(), LLAMA_8B, None, gguf_bytes=5_000)
    assert bare.train_disk["base model"] == 2 * LLAMA_8B.parameters
    assert bare.train_disk["base model, packed"] == 5_000
    assert list(bare.convert_disk) == [
        *("base model", "base model, packed", "GGUF q4_1", "adapter", "logs and reference"),
    ]
    cached = Config.model_validate({"cluster": {"cache": {"kind": "pvc", "name": "models"}}})
    assert "base model" not in estimate_run(cached, LLAMA_8B, None).train_disk


@pytest.mark.parametrize(
    ("text", "count"),
    [
        pytest.param("80Gi", 80 * 2**30, id="binary"),
        pytest.param("1.5G", 1_500_000_000, id="decimal"),
        pytest.param("512", 512, id="bytes"),
    ],
)
def test_reads_amounts_as_kubernetes_writes_them(text: str, count: int) -> None:
    assert quantity_bytes(text) == count


@pytest.mark.parametrize("text", ["80 GB", "", "-1Gi", "much"])
def test_refuses_what_is_no_amount(text: str) -> None:
    with pytest.raises(ValueError, match="is no amount of memory; write it as 80Gi or 80G"):
        quantity_bytes(text)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        pytest.param(1, "1Mi", id="rounded-up"),
        pytest.param(2**30, "1Gi", id="whole"),
        pytest.param(2**30 + 1, "2Gi", id="rounded-up-to-the-next-gi"),
    ],
)
def test_writes_amounts_that_are_enough(count: int, text: str) -> None:
    assert quantity(count) == text


@pytest.mark.parametrize(("text", "cores"), [("4", 4), ("1.5", 1.5), ("500m", 0.5), ("1k", 1000)])
def test_reads_cores(text: str, cores: float) -> None:
    assert cpu_cores(text) == cores


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (25.4, "about 25 s"), (330, "about 5.5 min"), (90_000, "about 25 h")],
)
def test_times_are_rough(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_counts_whole_steps_of_groups_of_answers() -> None:
    training = TrainingConfig(
        method="grpo", per_device_train_batch_size=8, gradient_accumulation_steps=2
    )
    assert grpo_steps(training, 35, 4) == 3 * (35 // 4)
    assert grpo_steps(training.model_copy(update={"max_steps": 7}), 35, 4) == 7


@pytest.mark.parametrize(
    ("method", "rows", "length"),
    [
        pytest.param("sft", 4, 90, id="sft"),
        pytest.param("dpo", 8, 90, id="both-answers-of-a-pair"),
        pytest.param("orpo", 8, 90, id="both-answers-of-another-pair"),
        pytest.param("kto", 4, 90, id="single-answers"),
        pytest.param("grpo", 4, 90 + 40, id="the-model's-own-answers"),
    ],
)
def test_what_goes_through_the_model_at_once(method: str, rows: int, length: int) -> None:
    config = Config.model_validate(
        {
            "training": {"method": method, "per_device_train_batch_size": 4},
            "grpo": {"max_completion_length": 40},
        }
    )
    load = load_of(config, Rows(train=[60, 90], answers=10, exact=True))
    assert (load.rows, load.length) == (rows, length)
