"""Runs that are made from another by changing keys."""

from __future__ import annotations

import pytest

from ftctl.config import schema
from ftctl.errors import ConfigError
from ftctl.runs import vary
from ftctl.runs.vary import can_vary, varied
from tests.run_files import a_run

RATE = "training.learning_rate"


@pytest.mark.parametrize(
    ("key", "can"),
    [
        (RATE, True),
        ("model.lora_r", True),
        ("kto.beta", True),
        ("model.model_name", False),
        ("training.method", False),
        ("dataset.limit", False),
        ("cluster.gpus", False),
        ("model", False),
    ],
)
def test_keys_vary_that_no_file_is_read_for(key: str, can: bool) -> None:
    assert can_vary(key) is can


def test_what_is_looked_up_are_keys() -> None:
    assert [key for key in vary._LOOKED_UP if schema.find(key) is None] == []
    assert [name for name in vary._SECTIONS if schema.find(name) is None] == []


def test_another_value_is_another_run_of_the_same_inputs() -> None:
    base = a_run()
    one, other, same = (varied(base, {RATE: rate}) for rate in (1e-4, 2e-4, 1e-4))

    assert one == same
    assert one.run_id != other.run_id
    assert (one.data, one.model, one.template) == (base.data, base.model, base.template)
    assert one.run_id.startswith("demo-")
    assert one.config.training.learning_rate == 1e-4
    assert one.created is None


def test_a_value_that_is_not_allowed_is_refused_with_the_key() -> None:
    with pytest.raises(ConfigError) as caught:
        varied(a_run(), {RATE: 7})

    assert caught.value.where == RATE
    assert caught.value.hint == f"In the child {RATE}=7."
