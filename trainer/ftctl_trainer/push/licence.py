"""The licence of a base model, where it says so."""

from __future__ import annotations

import logging
from pathlib import Path

import yaml

from ftctl.contract.runfile import ModelSource
from ftctl.storage.hub import client_error
from ftctl_trainer.push.hub import hub_api

log = logging.getLogger(__name__)
_KEY = "license"


def base_licence(source: ModelSource) -> str | None:
    """The licence that the model's card or file names; None where none is known here."""
    if source.kind == "hub":
        return _of_hub(source.name, source.revision)
    path = Path(source.path or "")
    if source.kind == "gguf":
        return _of_gguf(path) if path.is_file() else None
    card = path / "README.md"
    return _of_card(card.read_text(encoding="utf-8")) if card.is_file() else None


def _of_hub(name: str, revision: str) -> str | None:
    try:
        card = hub_api().model_info(name, revision=revision).card_data
    except (client_error(), OSError) as error:
        log.warning("the licence of %s is not known: %s", name, type(error).__name__)
        return None
    return _text(card.get(_KEY)) if card else None


def _of_gguf(path: Path) -> str | None:
    import gguf

    field = gguf.GGUFReader(path).fields.get(gguf.Keys.General.LICENSE)
    return _text(field.contents()) if field else None


def _of_card(text: str) -> str | None:
    """The card's first lines are YAML between `---`."""
    if not text.startswith("---"):
        return None
    try:
        found = yaml.safe_load(text.split("---")[1])
    except yaml.YAMLError:
        return None
    return _text(found.get(_KEY)) if isinstance(found, dict) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
