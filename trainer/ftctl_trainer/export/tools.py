"""llama.cpp's own programs: where they are, and one of them run to its end."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from ftctl.contract.exportable import WITH_IMATRIX, imatrix_tool, llama_cpp_tools
from ftctl.contract.spec import PathsConfig
from ftctl.errors import ConfigError, RunFailedError
from ftctl_trainer.stop import end_if_stopped

_POLL_S = 0.2


@dataclass(frozen=True)
class Tools:
    """llama.cpp's convert_hf_to_gguf.py, in the folder of its sources, and llama-quantize."""

    converter: Path
    quantizer: Path

    @property
    def imatrix(self) -> Path:
        """llama-imatrix, which not every build has."""
        return imatrix_tool(self.quantizer)

    @property
    def sources(self) -> Path:
        """The folder of the packages `conversion` and, in gguf-py, `gguf`."""
        return self.converter.parent


def find_tools(paths: PathsConfig) -> Tools | None:
    """
    llama.cpp's programs: where paths.* lead to both, else those that the convert image has.

    FTCTL_LLAMA_CPP_DIR names the image's folder: paths.* are of the machine that the run was made
    on.
    """
    found = llama_cpp_tools(paths)
    if found is None and (folder := os.environ.get("FTCTL_LLAMA_CPP_DIR")):
        found = llama_cpp_tools(PathsConfig(llama_cpp_dir=folder))
    return Tools(*found) if found else None


def check_imatrix(tools: Tools | None) -> None:
    """Raise ConfigError where llama-imatrix is not there."""
    if tools is None or not tools.imatrix.is_file():
        raise ConfigError(
            "an importance matrix needs llama.cpp's own llama-imatrix, which is not there",
            where="quantize.imatrix",
            hint=WITH_IMATRIX,
        )


def run_tool(
    command: list[str], stop: threading.Event | None = None, *, folder: Path | None = None
) -> str:
    """
    Run a program to its end, in a folder, and return what it said.

    Raises:
        RunFailedError: it failed; the end of what it said is the hint.
        StoppedError: `stop` was set; the program was killed.
    """
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        cwd=folder,
    ) as process:
        while True:
            try:
                said, _ = process.communicate(timeout=_POLL_S)
                break
            except subprocess.TimeoutExpired:
                if stop is not None:
                    if stop.is_set():
                        process.kill()
                    end_if_stopped(stop)
    if process.returncode != 0:
        raise RunFailedError(
            f"ended with code {process.returncode}",
            where=command[1] if command[0] == sys.executable else command[0],
            hint="\n".join(said.strip().splitlines()[-5:]),
        )
    return said
