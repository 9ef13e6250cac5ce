"""Main memory of the train stage, where activations wait there."""

from __future__ import annotations

import pytest

from ftctl.estimate.host import MAIN_SHARE, train_host
from ftctl.estimate.load import Load
from ftctl.estimate.run import estimate_run
from tests.unit.estimate.shapes import LLAMA_8B, config


@pytest.mark.parametrize(
    ("dropout", "rooms"), [pytest.param(0.1, 1, id="dropout"), pytest.param(0, 2, id="none")]
)
def test_main_memory_takes_what_waits_there(dropout: float, rooms: int) -> None:
    settings = config(
        model={"modules_to_save": [], "lora_dropout": dropout},
        training={"gradient_checkpointing": "offload"},
    )
    load = Load(1, 8_192, 8_192)
    parts = train_host(LLAMA_8B, settings, load)
    # 64 MiB what enters halves and what attention makes, 96 q, k and v; gates 448, of a third.
    # x A', of 64 numbers each; without dropout gates have room for their own twice.
    lows = 2**20 * (32 * 4 + 11 * rooms)
    assert parts["activations"] == 2**20 * (32 * (3 * 64 + 96) + 11 * 448) + lows
    assert "activations" not in train_host(LLAMA_8B, config(), load)


@pytest.mark.parametrize("gpus", [1, 4])
def test_the_trainers_share_of_what_is_free_has_room_for_what_waits(gpus: int) -> None:
    settings = config(
        training={"gradient_checkpointing": "offload"},
        cluster={"gpus": gpus},
    )
    parts = estimate_run(settings, LLAMA_8B, None).train_host
    # The rest may be in use when training begins.
    free = parts["activations"] + parts["free beside activations"]
    assert free * MAIN_SHARE >= parts["activations"]
    assert free * MAIN_SHARE == pytest.approx(parts["activations"])
