"""A stop that only one of several processes was asked for ends all of them alike."""

from __future__ import annotations

from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from ftctl_trainer.methods.progress import Counters, Progress
from ftctl_trainer.processes.group import ALONE, Group


class AskedElsewhere(Group):
    """Another process was asked to stop."""

    def any(self, flag: bool) -> bool:
        return True


class Nobody:
    """A reporter and checkpoints that nothing is to be told of."""

    def progress(self, step: int, total: int) -> None: ...

    def raise_failure(self) -> None: ...


@pytest.mark.parametrize(
    ("group", "stops"),
    [pytest.param(AskedElsewhere(), True, id="another"), pytest.param(ALONE, False, id="nobody")],
)
def test_a_step_ends_with_all_processes_stopped_or_none(group: Group, stops: bool) -> None:
    told: Any = Nobody()
    stop = Event()
    control = SimpleNamespace(should_save=False, should_training_stop=False, should_log=False)
    args = SimpleNamespace(device=SimpleNamespace(type="cuda"))
    state = SimpleNamespace(global_step=3, max_steps=9)
    progress = Progress(told, told, stop, Counters(), group=group)

    progress.on_step_end(args, state, control)

    assert (stop.is_set(), control.should_save, control.should_training_stop) == (stops,) * 3
