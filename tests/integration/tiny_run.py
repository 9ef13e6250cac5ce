"""A run of the tiny model in a folder store, trained by the real process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ftctl.contract.layout import RunLayout
from ftctl.contract.modelfiles import folder_revision
from ftctl.contract.runfile import AdapterSource, ModelSource, RunFile
from ftctl.contract.spec import Config
from ftctl.data.dataset import Dataset
from ftctl.data.digest import push_dataset
from ftctl.data.example import Example
from ftctl.storage.folder import FolderStore
from tests.integration.tiny_model import action_rows

TEMPLATE = "Available actions: {{ actions | join(', ') }}\nUser: {{ user_input }}"
ENVIRONMENT = {
    "FTCTL_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "FTCTL_LOG": "json",
}
WAIT_S = 180
# 64 columns are two blocks: what is lost in each weight shows more than in a real model.
LIMITS = {"mean_kl": 0.2, "p99_kl": 1.0, "top1_agreement": 0.5, "perplexity_ratio": 1.5}


@dataclass
class TinyRun:
    """A run's store and file; `settings` overlay the small defaults, by section."""

    root: Path
    model: Path
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    train: list[dict[str, Any]] = field(default_factory=lambda: list(action_rows(24)))
    held_out: list[dict[str, Any]] = field(default_factory=lambda: list(action_rows(4, first=24)))
    run_id: str = "tiny-0123456789ab"
    reward_files: dict[str, str] = field(default_factory=dict)
    init_adapter: AdapterSource | None = None
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.store = FolderStore(self.root / "store")
        self.layout = RunLayout(self.run_id)
        self.file = self.root / "run.yaml"

    def write(self) -> TinyRun:
        """Put the data set into the store, and write the run's file."""
        record = push_dataset(
            self.store,
            Dataset(
                train=[Example.model_validate(row) for row in self.train],
                eval=[Example.model_validate(row) for row in self.held_out],
            ),
        )
        run = RunFile(
            run_id=self.run_id,
            content_hash="0" * 64,
            model=ModelSource(
                name="tiny",
                kind="folder",
                path=str(self.model),
                revision=folder_revision(self.model) if self.model.is_dir() else "0" * 64,
            ),
            init_adapter=self.init_adapter,
            data=record,
            template=TEMPLATE,
            reward_files=self.reward_files,
            config=Config.model_validate(self._config()),
        )
        self.file.write_text(yaml.safe_dump(run.model_dump(mode="json")), encoding="utf-8")
        return self

    def _config(self) -> dict[str, Any]:
        sections: dict[str, dict[str, Any]] = {
            "model": {"model_name": "tiny", "lora_r": 4, "modules_to_save": []},
            "training": {
                "per_device_train_batch_size": 2,
                "gradient_accumulation_steps": 2,
                "learning_rate": 0.005,
                "max_steps": 12,
                "warmup_steps": 2,
                "logging_steps": 2,
                "save_steps": 4,
                "eval_steps": 6,
                "max_seq_length": 256,
                "gradient_checkpointing": "auto",
            },
            "testing": {"test": True, "max_new_tokens": 8, "batch_size": 4},
            "quantize": {"verify": {"tokens": 32, "top": 16, "thresholds": {"q4_1": LIMITS}}},
            "storage": {"url": str(self.root / "store")},
        }
        for name, values in self.settings.items():
            sections.setdefault(name, {}).update(values)
        return sections

    def start(self, stage: str = "train") -> subprocess.Popen[str]:
        """Start a stage as a pod does."""
        return subprocess.Popen(
            [sys.executable, "-m", "ftctl_trainer", stage, "--config", str(self.file)],
            env=self.surroundings(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def surroundings(self) -> dict[str, str]:
        """The environment of a stage."""
        return {**os.environ, **ENVIRONMENT, **self.environment}

    def finish(self, process: subprocess.Popen[str]) -> tuple[int, list[dict[str, Any]]]:
        """Wait for a stage; return its exit code and its log lines."""
        out, _ = process.communicate(timeout=WAIT_S)
        return process.returncode, [_parsed(line) for line in out.splitlines()]

    def hear(self, process: subprocess.Popen[str], *, step: int) -> list[dict[str, Any]]:
        """Read a stage's log until it tells of a step; return its lines."""
        assert process.stdout is not None
        lines = []
        for text in process.stdout:
            lines.append(_parsed(text))
            if lines[-1].get("status", {}).get("step", 0) >= step:
                return lines
        raise AssertionError(f"no step {step} came:\n{lines}")

    def train_now(self) -> tuple[int, list[dict[str, Any]]]:
        """Run the train stage to its end."""
        return self.finish(self.start())

    def trained(self) -> TinyRun:
        """The same, when the train stage has succeeded."""
        code, lines = self.train_now()
        assert code == 0, lines
        return self

    def interrupt_at(self, step: int, how: signal.Signals) -> tuple[int, list[dict[str, Any]]]:
        """Start the train stage and send a signal once a checkpoint of `step` is complete."""
        process = self.start()
        marker = f"{self.layout.checkpoint(step)}_COMPLETE"
        deadline = time.monotonic() + WAIT_S
        while self.store.stat(marker) is None:
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                out = process.communicate()[0]
                raise AssertionError(f"no checkpoint of step {step} came:\n{out}")
            time.sleep(0.005)
        process.send_signal(how)
        return self.finish(process)

    def expire_lease(self) -> None:
        """What 90 seconds do: a killed process cannot give its lease back."""
        lease = json.loads(self.store.read(self.layout.lease))
        self.store.write(self.layout.lease, json.dumps({**lease, "expires": 0.0}).encode())

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl without what depends on the clock and the machine."""
        timed = ("time", "real_tokens_per_s", "step_s", "peak_memory_gib")
        return [
            {name: value for name, value in line.items() if name not in timed}
            for line in self.lines("metrics.jsonl")
        ]

    def read(self, name: str) -> bytes:
        """A file of the run."""
        return self.store.read(self.layout.root + name)

    def lines(self, name: str) -> list[dict[str, Any]]:
        """A file of JSON lines."""
        return [json.loads(line) for line in self.read(name).splitlines()]


def _parsed(line: str) -> dict[str, Any]:
    try:
        return dict(json.loads(line))
    except json.JSONDecodeError:
        return {"message": line, "not_json": True}
