"""A tiny real model and data set, and `ftctl` as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ftctl.contract.layout import RunLayout
from tests.integration.tiny_model import action_rows, make_tiny_model, write_jsonl

# Small enough for seconds, long enough for two checkpoints; float32 trains the same everywhere.
SETTINGS = (
    "name=tiny",
    "training=cpu",
    "training.learning_rate=5e-3",
    "training.max_steps=8",
    "training.save_steps=2",
    "training.logging_steps=1",
    "training.eval_steps=4",
    "model.torch_dtype=float32",
    "model.modules_to_save=[]",
    "model.qtype=q8_0",
    "quantize.verify.tokens=48",
    "testing.test=true",
    "testing.max_new_tokens=16",
    "testing.limit=4",
)


@dataclass(frozen=True)
class Workplace:
    """A folder with a model and data, and the settings that name them."""

    root: Path
    model: Path
    train: Path
    eval: Path

    @property
    def settings(self) -> list[str]:
        """Overrides of a run of a few seconds."""
        return [
            *SETTINGS,
            f"model.model_name={self.model}",
            f"dataset.train={self.train}",
            f"dataset.eval={self.eval}",
        ]

    def ftctl(self, *arguments: str, env: dict[str, str] | None = None) -> Finished:
        """Run `ftctl` to its end."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.root,
            capture_output=True,
            text=True,
            env={**os.environ, "NO_COLOR": "1", **(env or {})},
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `ftctl` and come back at once."""
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def command(self, *arguments: str) -> list[str]:
        """The command line of `ftctl` with these arguments."""
        return [sys.executable, "-m", "ftctl.app", *arguments]


@dataclass(frozen=True)
class Finished:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A tiny model (made in about a second) and its rows."""
    root = tmp_path_factory.mktemp("workplace")
    return Workplace(
        root=root,
        model=make_tiny_model(root / "tiny"),
        train=write_jsonl(root / "train.jsonl", _rows(24)),
        eval=write_jsonl(root / "eval.jsonl", _rows(8, first=24)),
    )


@pytest.fixture(scope="session")
def published(workplace: Workplace) -> Published:
    """A run in a folder store, done once for all tests that only read it (about 15 s)."""
    store = workplace.root / "published"
    done = workplace.ftctl("run", "--json", f"storage.url={store}", *workplace.settings)
    assert done.code == 0, done.stderr
    return Published(store, json.loads(done.stdout), done)


@dataclass(frozen=True)
class Published:
    """A published run."""

    store: Path
    answer: dict[str, Any]
    done: Finished

    @property
    def run_id(self) -> str:
        """The run's id."""
        return str(self.answer["run_id"])

    @property
    def layout(self) -> RunLayout:
        """Its keys."""
        return RunLayout(self.run_id)

    @property
    def folder(self) -> Path:
        """Its folder."""
        return self.store / self.layout.root


def adapter_bytes(store: Path, run_id: str) -> bytes:
    """The trained weights of a run in a folder store."""
    return (store / RunLayout(run_id).adapter / "adapter_model.safetensors").read_bytes()


def json_lines(path: Path) -> list[dict[str, Any]]:
    """A JSONL file's lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def run_ids(store: Path) -> Sequence[str]:
    """Runs in a folder store."""
    return sorted(path.name for path in (store / "runs").iterdir())


def _rows(count: int, *, first: int = 0) -> list[dict[str, object]]:
    """Rows as users write them: the readers know the `actions` format by its capital letters."""
    return [
        {
            "id": row["id"],
            "system": row["system"],
            "prompt": {
                "History": [],
                "AvailableActions": row["prompt"]["actions"],  # type: ignore[index]
                "UserInput": row["prompt"]["user_input"],  # type: ignore[index]
            },
            "answer": row["answer"],
        }
        for row in action_rows(count, first=first)
    ]
