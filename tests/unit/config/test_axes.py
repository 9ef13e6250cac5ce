"""Sweeps in overrides, as Hydra's grammar has them."""

from __future__ import annotations

import pytest

from ftctl.config.axes import plain_value, read_swept
from ftctl.contract.sweep import Axis
from ftctl.errors import ConfigError


def axis(text: str, *, searching: bool = False) -> Axis:
    [found] = read_swept([text], searching=searching).axes
    return found


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("training.learning_rate=1e-4,3e-4", ["0.0001", "0.0003"]),
        ("model.lora_r=choice(8,16)", ["8", "16"]),
        ("model.lora_r=range(8,33,8)", ["8", "16", "24", "32"]),
        ("training.packing=true,false", ["true", "false"]),
        ("training.compute=null,fp32", ["null", "fp32"]),
        ("model.lora_target_modules=[q_proj],[q_proj,v_proj]", ["[q_proj]", "[q_proj,v_proj]"]),
        ("model=glob(smollm2-*)", ["smollm2-1.7b", "smollm2-135m"]),
        ("training.seed=1,2,1", ["1", "2"]),
        ("name='a,b',c", ["'a,b'", "c"]),
    ],
)
def test_values_are_those_that_hydra_would_run(text: str, values: list[str]) -> None:
    assert axis(text).values == values


def test_the_last_key_changes_fastest_and_the_rest_is_everyones() -> None:
    found = read_swept(
        ["experiment=smoke", "training.seed=1,2", "model.lora_r=4,8"], searching=False
    )

    assert found.fixed == ("experiment=smoke",)
    assert [tuple(each.values()) for each in found.combinations()] == [
        ("1", "4"),
        ("1", "8"),
        ("2", "4"),
        ("2", "8"),
    ]


def test_a_search_takes_ranges_of_the_kind_that_the_key_has() -> None:
    rate = axis("training.learning_rate=tag(log,interval(1e-5,1e-3))", searching=True)
    rank = axis("model.lora_r=interval(4,32)", searching=True)

    assert (rate.low, rate.high, rate.log, rate.whole) == (1e-5, 1e-3, True, False)
    assert (rank.low, rank.high, rank.log, rank.whole) == (4, 32, False, True)


@pytest.mark.parametrize(
    ("texts", "searching", "said"),
    [
        (["training.seed=1"], False, "no key has several values"),
        (["training.learning_rate=interval(1e-5,1e-3)"], False, "say --search N"),
        (["training.learning_rate=interval(1e-3,1e-5)"], True, "is not below"),
        (["training.learning_rate=tag(log,interval(0,1e-3))"], True, "begins above 0"),
        (["model=smollm2-135m,vikhr-8b"], True, "not choices of groups"),
        (["training.seed=1,2", "training.seed=3,4"], False, "training.seed is swept twice"),
        (["training.seed=3", "training.seed=1,2"], False, "has one value too"),
        (["model.lora_r=glob(*)"], False, "among the choices of a group"),
    ],
)
def test_what_cannot_be_swept_is_refused(texts: list[str], searching: bool, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_swept(texts, searching=searching)

    assert said in caught.value.what


def test_a_value_is_what_the_override_would_set() -> None:
    assert plain_value("training.learning_rate", "0.0001") == 1e-4
    assert plain_value("model.lora_target_modules", "[q_proj,v_proj]") == ["q_proj", "v_proj"]
