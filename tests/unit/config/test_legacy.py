import copy
from typing import Any

import pytest

from ftctl.config.legacy import replaced, translate
from ftctl.config.sources import Layer, Sources
from ftctl.errors import ConfigError

DEFAULTS: dict[str, Any] = {
    "model": {"train_steps": None, "torch_dtype": "float16", "revision": None},
    "training": {"method": "sft", "max_steps": -1, "max_seq_length": 2048},
    "grpo": {"max_completion_length": None},
    "other": {"cutoff_len": None},
    "testing": {"test_dataset": None},
}


def translated(*files: dict[str, Any]) -> dict[str, Any]:
    """Lay files over the defaults, then translate; returns what differs from the defaults."""
    values = copy.deepcopy(DEFAULTS)
    for file in files:
        for section, keys in file.items():
            values.setdefault(section, {}).update(keys)
    layers = [DEFAULTS, *files]
    sources = Sources(tuple(Layer(f"{rank}.yaml", rank, each) for rank, each in enumerate(layers)))
    result = translate(values, lambda: sources).values
    return {
        section: changed
        for section, keys in result.items()
        if (changed := {k: v for k, v in keys.items() if DEFAULTS[section].get(k, ...) != v})
    }


@pytest.mark.parametrize(
    ("files", "want"),
    [
        pytest.param([{}], {}, id="nothing-old"),
        pytest.param([{"training": {"use_sft": True, "use_grpo": False}}], {}, id="use-sft"),
        pytest.param(
            [{"training": {"use_sft": False, "use_grpo": True}}],
            {"training": {"method": "grpo"}},
            id="use-grpo",
        ),
        pytest.param(
            [{"training": {"training_method": "dpo"}}],
            {"training": {"method": "dpo"}},
            id="training-method",
        ),
        pytest.param(
            [{"training": {"use_grpo": True}}, {"training": {"method": "sft"}}],
            {},
            id="a-later-layer-wins-with-the-newer-key",
        ),
        pytest.param(
            [{"training": {"max_steps": 9}}, {"model": {"train_steps": 5}}],
            {"training": {"max_steps": 5}},
            id="a-later-layer-wins-with-the-older-key",
        ),
        pytest.param(
            [{"model": {"train_steps": 5}, "training": {"max_steps": -1}}],
            {"training": {"max_steps": 5}},
            id="minus-one-is-not-set",
        ),
        pytest.param(
            [{"other": {"cutoff_len": 512}}],
            {"training": {"max_seq_length": 512}},
            id="cutoff-len",
        ),
        pytest.param(
            [{"testing": {"test_file": "t.json"}}],
            {"testing": {"test_dataset": "t.json"}},
            id="test-file",
        ),
        pytest.param(
            [{"grpo": {"max_completion_length": "None"}, "model": {"revision": "None"}}],
            {},
            id="the-text-none-is-null",
        ),
        pytest.param(
            [{"model": {"torch_dtype": "torch.bfloat16"}}],
            {"model": {"torch_dtype": "bfloat16"}},
            id="torch-dtype",
        ),
        pytest.param([{"hydra": {"run": {"dir": "."}}}], {}, id="hydra-is-dropped"),
    ],
)
def test_older_keys(files: list[dict[str, Any]], want: dict[str, Any]) -> None:
    assert translated(*files) == want


@pytest.mark.parametrize(
    ("file", "message"),
    [
        pytest.param(
            {"training": {"use_sft": True, "use_grpo": True}},
            "training.use_sft and training.use_grpo are both true",
            id="two-methods",
        ),
        pytest.param(
            {"training": {"use_sft": False, "use_grpo": False}},
            "training.use_sft and training.use_grpo: none is true",
            id="no-method",
        ),
        pytest.param(
            {"training": {"use_sft": "perhaps"}},
            "training.use_sft is 'perhaps'",
            id="no-truth-value",
        ),
        pytest.param(
            {"model": {"train_steps": 5}, "training": {"max_steps": 7}},
            r"model.train_steps \(5\) and training.max_steps \(7\) contradict each other",
            id="two-numbers-of-steps",
        ),
        pytest.param(
            {"training": {"use_grpo": True, "method": "dpo"}},
            r"training.use_grpo \('grpo'\) and training.method \('dpo'\) contradict each other",
            id="method-and-flag",
        ),
    ],
)
def test_contradictions_in_one_file_are_errors(file: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        translated(file)
    assert caught.value.where == "1.yaml"


def test_equal_values_of_two_spellings_are_no_contradiction() -> None:
    file = {"model": {"train_steps": 7}, "training": {"max_steps": 7}}
    assert translated(file) == {"training": {"max_steps": 7}}


def test_keys_without_a_meaning_say_what_replaces_them() -> None:
    assert replaced("paths.venv_python_path") == (
        "The stages run with the Python that runs ftctl; leave it out."
    )
    assert replaced("training.seed") is None
