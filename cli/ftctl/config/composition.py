"""Runs Hydra over the files of a tree and overrides, and remembers where each value comes from."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ftctl.config.failures import as_config_errors
from ftctl.config.overrides import read_overrides
from ftctl.config.primary import content, overridden_groups, primary
from ftctl.config.problems import Problem, as_error
from ftctl.config.secret import TOKEN_KEY, secrets_in, token_reference
from ftctl.config.sources import Layer, Sources, nested, read_yaml, shown_path
from ftctl.config.tree import Tree
from ftctl.contract.spec import Config

if TYPE_CHECKING:
    from omegaconf import DictConfig

# Names in Hydra's ConfigStore; no file is called so.
_BASE = "_ftctl_base"
_PRIMARY = "_ftctl_primary"
# Overrides are above all files; none outweighs another.
_OVERRIDES_RANK = 1_000_000


class Composition:
    """
    A composed configuration. Not thread-safe: Hydra keeps what it works on in a global.

    Raises:
        ConfigError: an override, a file or an interpolation is wrong, or holds a secret.
    """

    def __init__(self, tree: Tree, texts: Sequence[str] = ()) -> None:
        self.tree = tree
        self._ours = read_yaml(tree.our_main)
        self._theirs = read_yaml(tree.main) if tree.main else {}
        self._overrides = read_overrides(texts, tree.groups(), rank=_OVERRIDES_RANK)

    def values(self) -> dict[str, Any]:
        """
        Plain values, interpolations resolved.

        `other.hf_token` stays a reference: no secret is ever resolved.
        """
        from hydra import compose
        from omegaconf import OmegaConf

        with self._hydra():
            composed = compose(_PRIMARY, overrides=list(self._overrides.lines))
        token = self._take_token(composed)
        self._refuse_secrets(composed)
        with as_config_errors(self.tree, lambda: self.sources):
            values = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
        assert isinstance(values, dict)
        if token is not None:
            values["other"]["hf_token"] = token
        return {str(name): value for name, value in values.items()}

    @functools.cached_property
    def sources(self) -> Sources:
        """The layers. Found only when they are asked for: it takes as long as composing."""
        from hydra.core.global_hydra import GlobalHydra
        from hydra.types import RunMode

        with self._hydra():
            loader = GlobalHydra.instance().config_loader()
            found = loader.compute_defaults_list(_PRIMARY, list(self._overrides.lines), RunMode.RUN)
        layers = [
            self._layer(rank, default.config_path, default.package or "")
            for rank, default in enumerate(found.defaults)
            if default.config_path and not default.config_path.startswith("hydra/")
        ]
        return Sources((*filter(None, layers), *self._overrides.layers))

    def _layer(self, rank: int, name: str, package: str) -> Layer | None:
        if name == _BASE:
            return Layer(shown_path(self.tree.our_main), rank, content(self._ours))
        if name == _PRIMARY:
            main = self.tree.main
            return Layer(shown_path(main), rank, content(self._theirs)) if main else None
        path = self.tree.file(name)
        if path is None:
            return None
        return Layer(shown_path(path), rank, nested(package, content(read_yaml(path))))

    def _take_token(self, composed: DictConfig) -> str | None:
        """Check the token's node as written, and put null in its place."""
        from omegaconf import OmegaConf

        raw = OmegaConf.to_container(composed, resolve=False)
        assert isinstance(raw, dict)
        section = raw.get("other")
        token = section.get("hf_token") if isinstance(section, dict) else None
        if token is None:
            return None
        OmegaConf.update(composed, TOKEN_KEY, None)
        return token_reference(token, where=self.sources.origin(TOKEN_KEY))

    def _refuse_secrets(self, composed: DictConfig) -> None:
        from omegaconf import OmegaConf

        raw = OmegaConf.to_container(composed, resolve=False)
        assert isinstance(raw, dict)
        problems = [
            Problem(
                self.sources.origin(key),
                f"{key} {reason}; a configuration is stored and shown, so it holds no secret",
                "Keep it in the environment, or in a Kubernetes Secret.",
            )
            for key, reason in secrets_in({str(name): value for name, value in raw.items()})
        ]
        if problems:
            raise as_error(problems)

    def _laid_last(self) -> set[str]:
        """Groups that overrides choose for: themselves, or by an experiment they name."""
        groups = set(self._overrides.chosen)
        for group, choice in self._overrides.chosen.items():
            path = self.tree.file(f"{group}/{choice}")
            groups |= overridden_groups(read_yaml(path)) if path else set()
        return groups

    @contextmanager
    def _hydra(self) -> Iterator[None]:
        """Hydra, set up with our folders and the two configurations made here."""
        from hydra import initialize_config_dir
        from hydra.core.config_store import ConfigStore

        first, *others = self.tree.folders
        made = primary(_BASE, self._ours, self._theirs, self._laid_last(), main=self.tree.main)
        made["hydra"] = {"searchpath": [f"file://{folder}" for folder in others]}
        with as_config_errors(self.tree, lambda: Sources(self._overrides.layers)):
            store = ConfigStore.instance()
            base = {**Config().model_dump(mode="json"), **content(self._ours)}
            store.store(name=_BASE, node=base, provider="ftctl")
            store.store(name=_PRIMARY, node=made, provider="ftctl")
            with initialize_config_dir(str(first), job_name="ftctl", version_base="1.3"):
                yield
