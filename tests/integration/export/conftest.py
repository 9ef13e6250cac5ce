"""A tiny base, a strong adapter and its reference: 10 s, once for all export tests."""

from __future__ import annotations

import shutil
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from ftctl.contract.spec import PathsConfig
from ftctl_trainer.export.gguf import export
from ftctl_trainer.export.inputs import Inputs
from ftctl_trainer.export.reference import Reference, read_reference
from ftctl_trainer.export.tools import Tools, find_tools
from tests.integration.export.convert_runs import handed_over
from tests.integration.handoff import make_adapter, make_reference
from tests.integration.tiny_model import make_tiny_model
from tests.integration.tiny_run import TinyRun

TEXTS = [
    ("<|im_start|>user\nit is dark here<|im_end|>\n<|im_start|>assistant\n", "LightsOn Done."),
    ("<|im_start|>user\nsome jazz please<|im_end|>\n<|im_start|>assistant\n", "PlayMusic привет"),
]


@dataclass(frozen=True)
class Handoff:
    """Folders that a train stage leaves, and its base."""

    base: Path
    adapter: Path
    reference_folder: Path

    @property
    def reference(self) -> Reference:
        """The reference, read."""
        return read_reference(self.reference_folder)

    @property
    def inputs(self) -> Inputs:
        """What export() takes."""
        return Inputs(self.base, self.adapter, "tiny")

    def with_copy(self, folder: Path) -> Handoff:
        """The same with an adapter that may be damaged."""
        shutil.copytree(self.adapter, folder)
        return Handoff(self.base, folder, self.reference_folder)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer llama that is sure of its answers, so that a change of them shows."""
    base = make_tiny_model(tmp_path_factory.mktemp("export") / "base")
    weights = load_file(base / "model.safetensors")
    weights["model.norm.weight"] *= 8
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    return base


@pytest.fixture(scope="session")
def handoff(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Handoff:
    """An adapter that changes every answer, and its reference."""
    root = tmp_path_factory.mktemp("handoff")
    adapter = make_adapter(tiny_base, root / "adapter", spread=0.5)
    return Handoff(
        tiny_base, adapter, make_reference(tiny_base, adapter, root / "reference", TEXTS)
    )


@pytest.fixture(scope="session")
def tools() -> Tools:
    """llama.cpp's own programs."""
    found = find_tools(PathsConfig(llama_cpp_dir="/nowhere"))
    if found is None:
        pytest.skip("FTCTL_LLAMA_CPP_DIR names no llama.cpp; `make llama-cpp` builds one")
    return found


@pytest.fixture(scope="session")
def finished(handoff: Handoff, tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """A run converted by the real process, with answers and a copy of the files: 10 s."""
    root = tmp_path_factory.mktemp("finished")
    run = handed_over(root, handoff, paths={"final_weights_path": str(root / "copy")})
    code, lines = run.finish(run.start("convert"))
    assert code == 0, lines
    return run


def exported(inputs: Inputs, folder: Path, *qtypes: str) -> dict[str, Path]:
    """Export by the built-in path."""
    outputs = {qtype: folder / f"{qtype}.gguf" for qtype in qtypes}
    export(
        inputs, outputs, tools=None, scratch=folder, threads=2, stop=threading.Event()
    )  # fmt: skip
    return outputs
