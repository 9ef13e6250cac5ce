"""When activations are recomputed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from ftctl_trainer.model import activations
from ftctl_trainer.model.activations import activation_bytes, recomputes

SHAPE = {"num_hidden_layers": 30, "hidden_size": 576, "num_attention_heads": 9}
SMALL = SimpleNamespace(config=SimpleNamespace(**SHAPE))


def test_the_measured_case_is_what_it_was() -> None:
    assert activation_bytes(SMALL.config, 8, 1887) == 20_868_710_400


def test_eager_attention_keeps_its_scores() -> None:
    eager = SimpleNamespace(**SHAPE, _attn_implementation="eager")

    assert activation_bytes(eager, 1, 10) == 30 * 10 * (80 * 576 + 8 * 9 * 10)


@pytest.mark.parametrize(
    ("setting", "free_gb", "want"),
    [
        pytest.param(True, 1000, True, id="asked-for"),
        pytest.param(False, 1, False, id="asked-against"),
        pytest.param("offload", 1000, True, id="offload-is-for-other-layers"),
        pytest.param("auto", 22, True, id="auto-would-fill-the-memory"),
        pytest.param("auto", 100, False, id="auto-with-room"),
    ],
)
def test_recomputes(
    monkeypatch: pytest.MonkeyPatch, setting: bool | str, free_gb: int, want: bool
) -> None:
    monkeypatch.setattr(activations, "_free_bytes", lambda: free_gb * 10**9)

    assert recomputes(setting, SMALL, [20, 1887, 900], 8) is want


MACHINE = 8 * 10**6 * 1024
V2, V1 = "memory.max", "memory/memory.limit_in_bytes"


@pytest.mark.parametrize(
    ("name", "limit", "want"),
    [
        pytest.param(V2, "max\n", MACHINE, id="v2-no-limit"),
        pytest.param(V2, "5000\n", 5000 - 3000 + 1000, id="v2"),
        pytest.param(V1, "9223372036854771712\n", MACHINE, id="v1-no-limit"),
        pytest.param(V1, "5000\n", 5000 - 3000 + 1500, id="v1-counts-those-below-too"),
        pytest.param(None, "", MACHINE, id="neither"),
    ],
)
def test_main_memory_is_what_the_machine_and_the_container_leave(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str | None, limit: str, want: int
) -> None:
    if name is not None:
        used = {V2: "memory.current", V1: "memory.usage_in_bytes"}[name]
        folder = (tmp_path / name).parent
        folder.mkdir(exist_ok=True)
        (tmp_path / name).write_text(limit)
        (folder / used).write_text("3000\n")
        (folder / "memory.stat").write_text(
            "anon 1500\ninactive_file 1000\nactive_file 200\ntotal_inactive_file 1500\n"
        )
    (tmp_path / "meminfo").write_text("MemTotal: 9000000 kB\nMemAvailable: 8000000 kB\n")
    monkeypatch.setattr(activations, "_CGROUP", tmp_path)
    monkeypatch.setattr(activations, "_MEMINFO", tmp_path / "meminfo")

    assert activations.free_main_memory() == want
