"""The processes that train one run together. The first alone writes, and the others follow it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from ftctl.contract import exits
from ftctl.errors import FtctlError, RunFailedError, StoppedError, by_exit_code

T = TypeVar("T")

# Set by torchrun and torch's elastic launch for the processes they start.
_STARTED_BY_LAUNCH = "TORCHELASTIC_RUN_ID"
# The first process may wait for a lease, or evaluate, for as long as it likes. A process that is
# gone closes its connections, which ends the waiting at once.
_WAITING = timedelta(days=7)
FAILURE = "ftctl/failure"
# What torch says when the other end of a collective is gone; it has one class for all failures.
_LOST = re.compile(
    r"gloo|NCCL|Connection (closed|reset|refused)|Broken pipe|store|socket", re.IGNORECASE
)


@dataclass(frozen=True)
class Group:
    """
    This process among those of its run; alone, without anything of torch.

    `control` is a group on the CPU for what is not gradients, so that no GPU is waited for;
    `board` is a key-value store that the launching process keeps.
    """

    rank: int = 0
    world: int = 1
    control: Any = None
    board: Any = None
    shards: bool = False
    """Each holds a part of the base: a forward pass is one of all."""
    here: int = 1
    """Processes of this machine."""

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process. All have to ask."""
        return self.sums([float(flag)])[0] > 0

    def sums(self, values: Sequence[float]) -> list[float]:
        """Add up each value over the processes. All have to ask."""
        if self.world == 1:
            return list(values)
        import torch
        from torch import distributed

        together = torch.tensor(values, dtype=torch.float64)
        distributed.all_reduce(together, group=self.control)
        return together.tolist()

    def from_first(self, make: Callable[[], T]) -> T:
        """What `make` returns in the first process, which alone calls it. All have to ask."""
        if self.world == 1:
            return make()
        from torch import distributed

        box: list[Any] = [make() if self.first else None]
        distributed.broadcast_object_list(box, src=0, group=self.control)
        value: T = box[0]
        return value

    def measured(self, measure: Callable[[], T]) -> T:
        """What `measure` finds by forward passes in the first process. All have to ask."""
        if not self.shards:
            return self.from_first(measure)
        value = measure()
        return self.from_first(lambda: value)

    def gathered(self, value: T) -> list[T]:
        """The value of every process, by rank. All have to ask."""
        if self.world == 1:
            return [value]
        from torch import distributed

        boxes: list[Any] = [None] * self.world
        distributed.all_gather_object(boxes, value, group=self.control)
        return boxes

    def wait(self) -> None:
        """Return when every process has come here."""
        self.sums([0.0])

    def tell_failure(self, error: Exception) -> bool:
        """Leave word for the others of what ends this process; whether it is the first word."""
        if self.board is None or isinstance(error, StoppedError):
            return False
        word: dict[str, Any] = {"rank": self.rank, "code": exits.BUG, "where": None, "hint": None}
        if isinstance(error, FtctlError):
            word |= {"code": error.exit_code, "what": error.what}
            word |= {"where": error.where, "hint": error.hint}
        else:
            word["what"] = f"a bug: {type(error).__name__}: {error}"
        text = json.dumps(word)
        try:
            return bool(self.board.compare_set(FAILURE, "", text).decode() == text)
        except RuntimeError:  # whoever keeps the board is gone
            return False

    def lost(self, error: Exception) -> FtctlError | None:
        """
        What another process ended with where that caused `error`; None: it is our own.

        One that fails has the others stopped.
        """
        if self.world == 1:
            return None
        if isinstance(error, StoppedError):
            return self._told()
        if not isinstance(error, RuntimeError) or not _LOST.search(str(error)):
            return None
        return self._told() or StoppedError(
            "another process of the training is gone; it goes on from the last checkpoint",
            where=f"process {self.rank} of {self.world}",
        )

    def _told(self) -> FtctlError | None:
        try:
            if not self.board.check([FAILURE]):
                return None
            word = json.loads(self.board.get(FAILURE))
        except RuntimeError:  # the process that keeps the board is gone too
            return None
        kind = RunFailedError if word["code"] == exits.BUG else by_exit_code(word["code"])
        where = word["where"] or f"process {word['rank']} of {self.world}"
        return kind(word["what"], where=where, hint=word["hint"])


ALONE = Group()


def is_launched() -> bool:
    """Whether this process was started as one of a group."""
    return _STARTED_BY_LAUNCH in os.environ


def join_group(*, shards: bool = False) -> Group:
    """
    Meet the others, as torch's launch describes them in the environment.

    Args:
        shards: the base is to be split among them.
    """
    if not is_launched() or int(os.environ["WORLD_SIZE"]) == 1:
        return ALONE
    import torch
    from torch import distributed
    from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    board = TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        world_size=world,
        is_master=False,
        wait_for_workers=False,
    )
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if gpu else "gloo",
        store=PrefixStore("ftctl/group", board),
        rank=rank,
        world_size=world,
    )
    control = distributed.new_group(backend="gloo", timeout=_WAITING)
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    return Group(rank, world, control, board, shards, here)
