"""A search: each child is chosen by what came of those before, which the store alone has."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftctl.commands.sweep_children import Children
from ftctl.contract.layout import RunLayout
from ftctl.contract.status import Metrics, now
from ftctl.contract.sweep import Axis, Search, Sweep
from ftctl.errors import UsageError
from ftctl.runs.search import Told, require_search, suggest
from ftctl.storage.folder import FolderStore
from ftctl.storage.runs import read_run
from ftctl.storage.sweeps import read_sweep, register_sweep
from tests.report_stores import json_lines
from tests.run_files import a_run

RATE = Axis(key="training.learning_rate", low=1e-5, high=1e-2, log=True)
RANK = Axis(key="model.lora_r", low=4, high=64, whole=True)
OPTIM = Axis(key="training.lr_scheduler_type", values=["linear", "cosine"])
BEST_RATE = 1e-3


def test_without_optuna_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)

    with pytest.raises(UsageError) as caught:
        require_search()

    assert caught.value.hint is not None
    assert "pip install 'ftctl[sweep]'" in caught.value.hint


def a_search(axes: list[Axis], trials: int) -> Sweep:
    return Sweep(
        sweep_id="demo-sweep-0123456789ab",
        content_hash="0" * 64,
        created=now(),
        objective="loss",
        stop_bad=False,
        alias="demo-best",
        axes=axes,
        children=[],
        search=Search(trials=trials, seed=0, base=a_run()),
    )


def end(store: FolderStore, run_id: str, loss: float) -> None:
    line = Metrics(step=10, epoch=1, eval_loss=loss)
    store.write(RunLayout(run_id).metrics, json_lines([line]))
    store.write(RunLayout(run_id).success, b"{}")


def searched(store: FolderStore, sweep: Sweep, *, anew: bool) -> list[dict[str, str]]:
    """Do a search whose loss is the distance from the best rate; `anew`: a process a child."""
    register_sweep(store, sweep)
    children = Children(store, sweep)
    for number in range(sweep.trials):
        if anew:
            children = Children(store, read_sweep(store, sweep.sweep_id))
            for _ in range(number):
                children.next()
        child = children.next()
        assert child is not None
        end(store, child.run_id, abs(float(child.values[RATE.key]) - BEST_RATE) * 1e3)
    assert children.next() is None
    return [child.values for child in read_sweep(store, sweep.sweep_id).children]


@pytest.fixture(autouse=True)
def _optuna(request: pytest.FixtureRequest) -> None:
    if "store" in request.fixturenames or "told" in request.fixturenames:
        pytest.importorskip("optuna")


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture
def told() -> list[Told]:
    values = {RATE.key: "0.001", RANK.key: "8", OPTIM.key: "linear"}
    return [Told(values, 1.0, ended=True), Told(values, None, ended=False)]


def test_values_are_within_their_ranges_and_read_back(told: list[Told]) -> None:
    for seed in range(10):
        found = suggest([RATE, RANK, OPTIM], told, objective="loss", seed=seed)

        assert 1e-5 <= float(found[RATE.key]) <= 1e-2
        assert 4 <= int(found[RANK.key]) <= 64
        assert found[OPTIM.key] in OPTIM.values


def test_equal_results_give_equal_values_and_others_give_others(told: list[Told]) -> None:
    ask = {"objective": "loss", "seed": 3}

    assert suggest([RATE, RANK, OPTIM], told, **ask) == suggest([RATE, RANK, OPTIM], told, **ask)  # type: ignore[arg-type]
    assert suggest([RATE], [], **ask) != suggest([RATE], told, **ask)  # type: ignore[arg-type]


def test_a_search_that_is_broken_off_after_each_child_chooses_the_same(
    store: FolderStore, tmp_path: Path
) -> None:
    sweep = a_search([RATE, RANK], 6)

    assert searched(store, sweep, anew=True) == searched(
        FolderStore(tmp_path / "other"), sweep, anew=False
    )


def test_it_learns_from_what_it_is_told(store: FolderStore) -> None:
    chosen = [
        float(values[RATE.key]) for values in searched(store, a_search([RATE], 40), anew=False)
    ]

    def near(rates: list[float]) -> int:
        return sum(0.5 * BEST_RATE < rate < 2 * BEST_RATE for rate in rates)

    # Ten are drawn at random first.
    assert near(chosen[-15:]) > near(chosen[:15])


def test_children_are_registered_runs_with_the_values(store: FolderStore) -> None:
    sweep = register_sweep(store, a_search([RATE, RANK], 2))
    child = Children(store, sweep).next()

    assert child is not None
    config = read_run(store, child.run_id).config
    assert config.training.learning_rate == float(child.values[RATE.key])
    assert config.model.lora_r == int(child.values[RANK.key])


def test_a_small_space_ends_when_it_is_had(store: FolderStore) -> None:
    children = Children(store, register_sweep(store, a_search([OPTIM], 5)))
    found = []
    while child := children.next():
        end(store, child.run_id, 1.0)
        found.append(child.values[OPTIM.key])

    assert sorted(found) == ["cosine", "linear"]
