"""Which runs share the numbers of their base: those that would measure the same."""

from __future__ import annotations

from typing import Any

import pytest

from ftctl.contract.runfile import AdapterSource, RunFile
from ftctl_trainer.base_evaluation import base_key
from tests.run_files import DATA, HUB_MODEL, a_run


def _key(run: RunFile | None = None, **facts: Any) -> str | None:
    return base_key(
        run or a_run(), **{"dtype": "bfloat16", "device": "cpu", "answer_tokens": 40, **facts}
    )


def test_the_key_lies_below_the_data_set_that_it_is_about() -> None:
    assert str(_key()).startswith(f"evaluations/{DATA}/")


@pytest.mark.parametrize(
    "sections",
    [
        {"training": {"learning_rate": 1e-5, "seed": 7, "max_steps": 3}},
        {"model": {"lora_r": 4, "qtype": "q8_0"}},
        {"testing": {"batch_size": 3}},
        {"cluster": {"gpus": 2}},
    ],
    ids=lambda sections: next(iter(sections)),
)
def test_how_it_is_trained_exported_and_run_changes_nothing(sections: dict[str, Any]) -> None:
    assert _key(a_run(**sections)) == _key()


@pytest.mark.parametrize(
    "sections",
    [
        {"model": {"use_8bit": True}},
        {"model": {"use_dora": True}},
        {"training": {"max_seq_length": 99}},
        {"training": {"method": "dpo"}},
        {"testing": {"limit": 3}},
        {"testing": {"test": True}},
        {"dataset": {"always_allowed_actions": ["Wait"]}},
    ],
    ids=str,
)
def test_what_the_numbers_depend_on_makes_another_key(sections: dict[str, Any]) -> None:
    assert _key(a_run(**sections)) != _key()


@pytest.mark.parametrize(
    "facts", [{"dtype": "float32"}, {"device": "cuda"}, {"answer_tokens": 41}], ids=str
)
def test_so_do_the_machine_and_the_room_for_answers(facts: dict[str, Any]) -> None:
    assert _key(**facts) != _key()


def test_another_model_template_or_reward_makes_another_key() -> None:
    run = a_run()
    others = [
        run.model_copy(update={"model": HUB_MODEL.model_copy(update={"revision": "0" * 40})}),
        run.model_copy(update={"template": "{{ user_input }}!"}),
        run.model_copy(update={"reward_files": {"reward.py": "def f(): ..."}}),
    ]
    assert len({_key(), *map(_key, others)}) == 4


def test_settings_of_the_method_count_for_its_runs_alone() -> None:
    training = {"method": "dpo"}
    assert _key(a_run(training=training, dpo={"beta": 0.3})) != _key(a_run(training=training))
    assert _key(a_run(dpo={"beta": 0.3})) == _key()


def test_a_run_that_goes_on_from_an_adapter_does_not_begin_with_the_base() -> None:
    source = AdapterSource(name="a", prefix="runs/a/adapter/", revision="1" * 64)
    assert _key(a_run().model_copy(update={"init_adapter": source})) is None
