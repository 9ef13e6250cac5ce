import pytest

from ftctl.config.overrides import read_overrides
from ftctl.errors import ConfigError

GROUPS = {"model": ["default", "smollm2-135m"], "storage": ["local", "s3"]}


def test_groups_are_choices_and_keys_are_set_whether_or_not_a_file_has_them() -> None:
    read = read_overrides(
        ["storage=s3", "training.seed=1", "+model.lora_r=8", "~dataset.limit", "cluster.env.A=b"],
        GROUPS,
        rank=9,
    )
    assert read.lines == (
        "storage=s3",
        "++training.seed=1",
        "++model.lora_r=8",
        "~dataset.limit",
        "++cluster.env.A=b",
    )
    assert read.chosen == {"storage": "s3"}
    assert [(layer.origin, layer.rank, layer.values) for layer in read.layers] == [
        ("override training.seed=1", 9, {"training": {"seed": 1}}),
        ("override +model.lora_r=8", 9, {"model": {"lora_r": 8}}),
        ("override cluster.env.A=b", 9, {"cluster": {"env": {"A": "b"}}}),
    ]


@pytest.mark.parametrize(
    ("text", "want"),
    [
        pytest.param(
            "training.lerning_rate=1",
            "override training.lerning_rate=1: there is no key training.lerning_rate\n"
            "Did you mean training.learning_rate? `ftctl config explain training` lists the keys.",
            id="mistyped-key",
        ),
        pytest.param(
            "model=smolm2-135m",
            "override model=smolm2-135m: group model has no choice 'smolm2-135m'\n"
            "Did you mean smollm2-135m? Choices: default, smollm2-135m.",
            id="unknown-choice",
        ),
        pytest.param(
            "modle=default",
            "override modle=default: there is no key modle\n"
            "Did you mean model? `ftctl config show` lists the keys.",
            id="unknown-group",
        ),
        pytest.param(
            "modle@x=default",
            "override modle@x=default: there is no group modle\nDid you mean model?",
            id="unknown-group-with-a-package",
        ),
        pytest.param(
            "training.seed=1,2",
            "override training.seed=1,2: training.seed gets several values\n"
            "Give one; a list is written training.seed=[A,B], "
            "a text with commas 'training.seed=\"A,B\"'. `ftctl sweep` makes a run of each.",
            id="sweep",
        ),
        pytest.param(
            "hydra.run.dir=.",
            "override hydra.run.dir=.: settings of Hydra have no effect here\nLeave it out.",
            id="hydra",
        ),
        pytest.param(
            "paths.venv_python_path=x",
            "override paths.venv_python_path=x: paths.venv_python_path has no meaning here\n"
            "The stages run with the Python that runs ftctl; leave it out.",
            id="replaced",
        ),
        pytest.param(
            "dataset.train=a=b",
            "override dataset.train=a=b: its value cannot be read\nQuote what has special "
            "characters, inside the quotes of the shell: 'dataset.train=\"VALUE\"'.",
            id="unquoted",
        ),
        pytest.param(
            "other.hf_token=hf_x[",
            "override other.hf_token=***: its value cannot be read\nQuote what has special "
            "characters, inside the quotes of the shell: 'other.hf_token=\"VALUE\"'.",
            id="a-secret-is-not-shown",
        ),
        pytest.param(
            "learning_rate",
            "argument learning_rate: is no override\n"
            "Write KEY=VALUE, for example training.learning_rate=VALUE.",
            id="no-value",
        ),
    ],
)
def test_a_wrong_override_says_what_is_meant(text: str, want: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_overrides([text], GROUPS, rank=1)
    assert str(caught.value) == want


def test_all_wrong_overrides_are_told_at_once() -> None:
    with pytest.raises(ConfigError, match="2 problems in the configuration"):
        read_overrides(["a.b=1", "training.seed=3", "c"], GROUPS, rank=1)
