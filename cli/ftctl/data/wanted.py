"""What a configuration names as its data, which it can do under several keys."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ftctl.contract.spec import Config
from ftctl.errors import ConfigError


class Wanted(NamedTuple):
    """The files of a split, and the configuration key that names them."""

    key: str
    files: list[str]


def wanted_files(config: Config) -> tuple[Wanted, Wanted, Wanted]:
    """
    What the configuration names for training, evaluation and test, in its own words.

    Raises:
        ConfigError: it names no training rows.
    """
    data, grpo = config.dataset, config.training.method == "grpo"
    train = Wanted("dataset.train", _listed(data.train))
    if grpo and config.grpo.train_data:
        train = Wanted("grpo.train_data", [config.grpo.train_data])
    elif not train.files and config.model.dataset_name:
        path = Path(config.paths.data_dir) / config.model.dataset_name
        train = Wanted("model.dataset_name", [str(path)])
    if not train.files:
        raise ConfigError(
            "no training data is named",
            where="dataset.train",
            hint="Set it to a file, a glob, an s3:// URL or sha256:DIGEST: "
            "dataset.train=data/train.jsonl.",
        )
    eval_ = Wanted("dataset.eval", _listed(data.eval))
    if grpo and config.grpo.val_data:
        eval_ = Wanted("grpo.val_data", [config.grpo.val_data])
    return train, eval_, Wanted("testing.test_dataset", _listed(config.testing.test_dataset))


def _listed(value: str | list[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())
