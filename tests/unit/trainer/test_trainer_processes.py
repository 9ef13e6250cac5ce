"""Several processes of one training: how many, and by what they end."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftctl.contract.spec import Config
from ftctl.errors import ConfigError, DataError, RunFailedError, StoppedError
from ftctl_trainer.processes.group import ALONE, Group
from ftctl_trainer.processes.launch import counting, leave_exit_code
from ftctl_trainer.processes.plan import Processes, planned


@pytest.mark.parametrize(
    ("environment", "plan"),
    [
        pytest.param({}, Processes(), id="one"),
        pytest.param({"FTCTL_PROCESSES": "2"}, Processes(2), id="two-here"),
        pytest.param(
            {
                "FTCTL_PROCESSES": "2",
                "FTCTL_NODES": "2",
                "FTCTL_RENDEZVOUS": "demo-train:29500",
                "JOB_COMPLETION_INDEX": "1",
            },
            Processes(2, 2, 1, "demo-train:29500"),
            id="the-second-of-two-nodes",
        ),
    ],
)
def test_the_environment_says_how_many_train_together(
    environment: dict[str, str], plan: Processes
) -> None:
    assert planned(Config(), environment) == plan


@pytest.mark.parametrize(
    ("environment", "match"),
    [
        pytest.param({"FTCTL_PROCESSES": "3"}, "4 rows a step cannot be shared", id="rows"),
        pytest.param({"FTCTL_PROCESSES": "two"}, "'two' is no whole number", id="text"),
        pytest.param({"FTCTL_NODES": "2"}, "FTCTL_RENDEZVOUS is not set", id="no-place"),
    ],
)
def test_what_cannot_be_is_refused(environment: dict[str, str], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        planned(Config(), environment)


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        pytest.param([], 0, id="none"),
        pytest.param([0, 0], 0, id="all-well"),
        pytest.param([75, 3], 3, id="a-bad-config-before-one-that-lost-it"),
        pytest.param([7, 3], 3, id="what-would-fail-again-first"),
        pytest.param([75, 8], 8, id="a-verification"),
        pytest.param([75, -9], 137, id="killed"),
        pytest.param([75, 75], 75, id="stopped"),
        pytest.param([-15, 75, 0], 75, id="one-that-was-ended-says-nothing"),
        pytest.param([-15, 1], 1, id="a-bug"),
    ],
)
def test_the_exit_code_is_that_of_the_process_that_failed_by_itself(
    codes: list[int], code: int
) -> None:
    assert counting(codes) == code


def test_a_process_leaves_its_exit_code_where_it_was_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTCTL_EXITS", str(tmp_path))
    monkeypatch.setenv("RANK", "1")

    leave_exit_code(8)

    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("1", "8")]


def test_alone_nothing_is_asked_of_others() -> None:
    assert ALONE.any(True)
    assert ALONE.sums([1.5, 2.0]) == [1.5, 2.0]
    assert ALONE.from_first(lambda: "mine") == "mine"
    assert ALONE.gathered("mine") == ["mine"]
    assert ALONE.lost(RuntimeError("Connection closed by peer")) is None


class Board:
    """The key-value store that processes share, as torch has it."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def compare_set(self, key: str, expected: str, value: str) -> bytes:
        return self.values.setdefault(key, value).encode()

    def check(self, keys: list[str]) -> bool:
        return all(key in self.values for key in keys)

    def get(self, key: str) -> bytes:
        return self.values[key].encode()


def test_the_others_end_by_what_the_first_failing_process_said() -> None:
    board = Board()
    groups = [Group(rank, 3, board=board) for rank in range(3)]
    closed = RuntimeError("[gloo] Connection closed by peer")

    gone = groups[0].lost(closed)
    assert groups[0].lost(StoppedError("stopped")) is None
    assert isinstance(gone, StoppedError)
    assert groups[2].tell_failure(DataError("no rows", where="train.json", hint="Add some."))
    assert not groups[1].tell_failure(RunFailedError("lost"))
    assert not groups[1].tell_failure(StoppedError("stopped"))

    told = groups[0].lost(closed)
    assert (type(told), str(told)) == (ConfigError, "train.json: no rows\nAdd some.")
    assert str(groups[0].lost(StoppedError("stopped"))) == str(told)
    assert groups[0].lost(ValueError("Connection closed by peer")) is None
    assert groups[0].lost(RuntimeError("shapes do not fit")) is None
