"""The adapter on both bases: the one it was trained on, and the full-precision one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader

from ftctl.contract.verification import Verification
from ftctl_trainer.export.base import rounded_base
from ftctl_trainer.export.merge import merged_tensors
from ftctl_trainer.export.merge_base import reference_of
from tests.integration.tiny_model import make_tiny_model
from tests.integration.tiny_run import LIMITS, TinyRun


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """A run that both stages went through as real processes, with both bases: 45 s."""
    root = tmp_path_factory.mktemp("best")
    run = TinyRun(
        root,
        make_tiny_model(root / "base"),
        {
            "model": {"qtype": "f16"},
            "quantize": {
                "merge_base": "best",
                "verify": {"tokens": 32, "top": 16, "thresholds": {"f16": LIMITS}},
            },
            "training": {"max_steps": 4, "eval_steps": 4},
            "testing": {"test": False},
        },
    ).write()
    for stage in ("train", "convert"):
        code, lines = run.finish(run.start(stage))
        assert code == 0, lines
    return run


def _reference(run: TinyRun, base: str) -> Path:
    return Path(run.store.url) / run.layout.reference / ("nf4" if base == "nf4" else "")


def test_each_base_has_a_reference_of_its_own(trained: TinyRun) -> None:
    texts = {
        base: json.loads((_reference(trained, base) / "reference.json").read_text())
        for base in ("full", "nf4")
    }

    assert {base: text["merge_base"] for base, text in texts.items()} == {
        "full": "full",
        "nf4": "nf4",
    }
    assert texts["full"]["nf4"] is None
    assert len(texts["nf4"]["nf4"]["modules"]) == 14
    assert texts["full"]["sequences"] == texts["nf4"]["sequences"]


def test_the_better_base_is_published_with_the_evidence(trained: TinyRun) -> None:
    proof = Verification.model_validate_json(trained.read("verify.json"))

    losses = {score.base: score.label_loss for score in proof.merge_bases}
    assert proof.passed
    assert losses.keys() == {"full", "nf4"}
    assert losses[proof.merge_base] == min(losses.values())
    assert losses["full"] != losses["nf4"]
    assert proof.merged_onto in trained.read("report.html").decode()


def test_the_published_file_is_the_merge_onto_that_base(trained: TinyRun, tmp_path: Path) -> None:
    proof = Verification.model_validate_json(trained.read("verify.json"))
    store = Path(trained.store.url)
    base = trained.model
    nf4 = reference_of("nf4", store / trained.layout.reference).nf4
    assert nf4
    if proof.merge_base == "nf4":
        base = rounded_base(base, nf4, tmp_path / "nf4")

    wanted = {t.name: t for t in merged_tensors(base, store / trained.layout.adapter)}

    stored = {t.name: t for t in GGUFReader(store / trained.layout.gguf / "tiny-F16.gguf").tensors}
    down = wanted["model.layers.1.mlp.down_proj.weight"].load()
    np.testing.assert_array_equal(stored["blk.1.ffn_down.weight"].data, down.astype(np.float16))
