"""The model card of a published run."""

from __future__ import annotations

from dataclasses import replace

import yaml

from ftctl.contract.runfile import ModelSource
from ftctl.report.card import model_card
from tests import report_records as made


def test_a_card_has_the_base_its_licence_the_files_and_the_data() -> None:
    hub = ModelSource(name="org/base", kind="hub", revision="a" * 40)
    run = made.run_file().model_copy(update={"model": hub})

    card = model_card(replace(made.record(), run=run), licence="apache-2.0")

    assert yaml.safe_load(card.split("---\n")[1]) == {
        "license": "apache-2.0",
        "base_model": "org/base",
        "base_model_relation": "finetune",
        "pipeline_tag": "text-generation",
        "tags": ["gguf", "lora", "ftctl"],
    }
    for line in (
        "# quickstart",
        "| Q4_1 | `smollm2-home-q4_1.gguf` | 982 B | 0.0214 | 0.257 | 96.2% | x1.021 |",
        f"- base model: org/base at `{'a' * 40}`",
        "- licence of the base: apache-2.0",
        f"- data: sha256 `{made.SHA}` (240 train, 60 eval rows)",
    ):
        assert f"\n{line}\n" in card


def test_a_local_base_is_named_without_its_folder() -> None:
    local = ModelSource(name="/home/me/models/bot", kind="folder", revision=made.SHA)
    run = made.run_file().model_copy(update={"model": local})

    card = model_card(replace(made.record(), run=run), licence=None)

    assert "/home/me" not in card
    assert "\nbot, fine-tuned (sft, LoRA)" in card
    assert set(yaml.safe_load(card.split("---\n")[1])) == {"pipeline_tag", "tags"}
