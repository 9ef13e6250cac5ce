"""The adapter alone as a GGUF, run by real llama.cpp over the base. Needs llama.cpp's sources."""

from __future__ import annotations

import threading
from pathlib import Path

import gguf
import numpy as np
import pytest

from ftctl.contract.spec import Thresholds
from ftctl.contract.verification import OutputVerification
from ftctl.errors import RunFailedError
from ftctl_trainer.export.adapter_gguf import write_adapter_gguf, write_base_gguf
from ftctl_trainer.export.reference import Reference
from ftctl_trainer.export.tools import Tools
from ftctl_trainer.export.verify import verify_adapter
from tests.integration.export.conftest import TEXTS, Handoff
from tests.integration.handoff import make_adapter, make_reference

EXACT = Thresholds(mean_kl=1e-3, p99_kl=1e-2, top1_agreement=0.9, perplexity_ratio=1.02)


@pytest.fixture(scope="module")
def base(handoff: Handoff, tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base as an F16 file: 6 s."""
    scratch = tmp_path_factory.mktemp("base")
    write_base_gguf(
        tools, handoff.inputs, scratch / "base.gguf", scratch, 2, threading.Event()
    )  # fmt: skip
    return scratch / "base.gguf"


def _written(handoff: Handoff, tools: Tools, folder: Path) -> Path:
    target = folder / "adapter.gguf"
    write_adapter_gguf(tools, handoff.inputs, target, folder, threading.Event())
    return target


def _verified(file: Path, base: Path, reference: Reference) -> OutputVerification:
    return verify_adapter(file, base, reference, EXACT, threads=2, stop=threading.Event())


def _missed(found: OutputVerification) -> set[str]:
    return {check.name for check in found.checks if not check.passed}


def test_the_base_with_the_adapter_is_the_tuned_model(
    handoff: Handoff, tools: Tools, base: Path, tmp_path: Path
) -> None:
    file = _written(handoff, tools, tmp_path)

    found = _verified(file, base, handoff.reference)

    assert _missed(found) == set()
    assert (found.qtype, found.file) == ("adapter", "adapter.gguf")
    fields = gguf.GGUFReader(file).fields
    assert fields["general.type"].contents() == "adapter"
    assert fields["general.architecture"].contents() == "llama"


def test_scales_that_differ_are_written_into_the_weights(
    tiny_base: Path, tools: Tools, base: Path, tmp_path: Path
) -> None:
    adapter = make_adapter(
        tiny_base,
        tmp_path / "adapter",
        use_rslora=True,
        rank_pattern={"q_proj": 8},
        alpha_pattern={"down_proj": 3},
    )
    reference = make_reference(tiny_base, adapter, tmp_path / "reference", TEXTS)
    tuned = Handoff(tiny_base, adapter, reference)

    file = _written(tuned, tools, tmp_path)

    assert _missed(_verified(file, base, tuned.reference)) == set()


def test_an_adapter_of_another_strength_is_caught(
    handoff: Handoff, tools: Tools, base: Path, tmp_path: Path
) -> None:
    file = _written(handoff, tools, tmp_path)
    reader = gguf.GGUFReader(file, "r+")
    alpha = reader.fields["adapter.lora.alpha"]
    alpha.parts[alpha.data[0]][0] = np.float32(2)
    del reader, alpha

    assert "mean_kl" in _missed(_verified(file, base, handoff.reference))


@pytest.mark.filterwarnings("default:Model has .tie_word:UserWarning")
def test_a_layer_that_was_trained_whole_is_refused(
    tiny_base: Path, tools: Tools, tmp_path: Path
) -> None:
    adapter = make_adapter(tiny_base, tmp_path / "adapter", modules_to_save=["lm_head"])

    with pytest.raises(RunFailedError, match="more than plain LoRA") as caught:
        _written(Handoff(tiny_base, adapter, tmp_path), tools, tmp_path)

    assert caught.value.hint == "Set model.modules_to_save=[], or quantize.adapter_gguf=false."
