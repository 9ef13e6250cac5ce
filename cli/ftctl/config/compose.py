"""From files and overrides to a checked configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ftctl.config import legacy, validate
from ftctl.config.composition import Composition
from ftctl.config.secret import use_hub_token
from ftctl.config.sources import Sources
from ftctl.config.tree import open_tree
from ftctl.contract.spec import Config


def compose(
    overrides: Sequence[str] = (),
    *,
    config_dir: Path | None = None,
    config_name: str | None = None,
) -> Config:
    """
    Compose and check a configuration. Not thread-safe: Hydra keeps its state in a global.

    A hub token that other.hf_token refers to becomes this process's, in HF_TOKEN.

    Args:
        overrides: `key=value` and `group=choice`; they win over every file.
        config_dir: a folder of groups that add to ours. Its config.yaml is laid over ours.
        config_name: another file there, instead of config.yaml; older keys are understood.
    Raises:
        ConfigError: everything that is wrong, with where, value, what is allowed, nearest name.
    """
    config = checked(Composition(open_tree(config_dir, config_name), overrides))
    use_hub_token(config.other.hf_token)
    return config


def checked(composition: Composition) -> Config:
    """Compose, translate older keys, and check. Raises ConfigError."""

    def sources() -> Sources:
        return composition.sources

    translated = legacy.translate(composition.values(), sources)
    return validate.check(translated.values, sources, translated.moved)
