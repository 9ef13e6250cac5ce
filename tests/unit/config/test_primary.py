from typing import Any

import pytest

from ftctl.config.primary import content, overridden_groups, primary
from ftctl.errors import ConfigError

OURS = {
    "defaults": [
        "_self_",
        {"model": "default"},
        {"storage": "local"},
        {"experiment": None},
        {"override hydra/job_logging": "disabled"},
    ],
    "paths": {"data_dir": "data"},
}


@pytest.mark.parametrize(
    ("theirs", "chosen", "want"),
    [
        pytest.param(
            {},
            [],
            ["base", {"model": "default"}, {"storage": "local"}, "_self_", {"experiment": None}],
            id="ours-alone",
        ),
        pytest.param(
            {"paths": {}},
            ["storage"],
            ["base", {"model": "default"}, "_self_", {"storage": "local"}, {"experiment": None}],
            id="a-choice-of-an-override-comes-after-theirs",
        ),
        pytest.param(
            {"defaults": [{"override /model": "mine"}, "_self_", "more"]},
            [],
            [
                "base",
                {"storage": "local"},
                {"model": "mine"},
                "_self_",
                "more",
                {"experiment": None},
            ],
            id="their-list-keeps-its-order",
        ),
        pytest.param(
            {"defaults": ["_self_", {"experiment": "mine"}, {"override hydra/hydra_logging": "x"}]},
            [],
            ["base", {"model": "default"}, {"storage": "local"}, "_self_", {"experiment": "mine"}],
            id="their-experiment-stays-in-its-place",
        ),
        pytest.param(
            {"defaults": [{"experiment": "mine"}, "_self_"]},
            ["model"],
            ["base", {"model": "default"}, {"storage": "local"}, {"experiment": "mine"}, "_self_"],
            id="a-choice-of-an-override-stays-below-their-experiment",
        ),
        pytest.param(
            {"defaults": [{"experiment": "mine"}, {"model": "other"}, "_self_"]},
            [],
            ["base", {"storage": "local"}, {"model": "other"}, {"experiment": "mine"}, "_self_"],
            id="their-groups-come-before-their-experiment",
        ),
        pytest.param(
            {"defaults": [{"experiment": "mine"}, "_self_"]},
            ["experiment"],
            ["base", {"model": "default"}, {"storage": "local"}, "_self_", {"experiment": "mine"}],
            id="another-experiment-is-laid-over-theirs",
        ),
    ],
)
def test_order_of_layers(theirs: dict[str, Any], chosen: list[str], want: list[object]) -> None:
    assert primary("base", OURS, theirs, chosen)["defaults"] == want


def test_their_keys_stand_beside_the_list_and_hydras_do_not() -> None:
    theirs = {"hydra": {"run": {"dir": "."}}, "model": {"lora_r": 8}, "defaults": []}
    made = primary("base", OURS, theirs, [])
    assert {name: made[name] for name in made if name != "defaults"} == {"model": {"lora_r": 8}}
    assert content(theirs) == {"model": {"lora_r": 8}}


def test_an_entry_of_an_unknown_form_is_refused() -> None:
    with pytest.raises(ConfigError, match="its defaults list has an entry 3"):
        primary("base", OURS, {"defaults": [3]}, [])


def test_groups_that_a_file_overrides() -> None:
    defaults = ["_self_", {"override /model": "a"}, {"storage": "s3"}, {"override training": "b"}]
    assert overridden_groups({"defaults": defaults}) == {"model", "training"}
    assert overridden_groups({}) == set()
