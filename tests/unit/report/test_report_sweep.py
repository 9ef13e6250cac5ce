"""A sweep as a table, a plot and a page; and the rule by which bad children are stopped."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest

from ftctl.contract.evaluation import Evaluation, Scores
from ftctl.contract.status import Metrics, Status, now
from ftctl.contract.sweep import Axis, Child, Objective, Sweep
from ftctl.report.median import falls_behind
from ftctl.report.parallel import Coordinate, Trace, parallel_coordinates
from ftctl.report.record import RunRecord, Tombstones
from ftctl.report.sweep import best_of, ranked, short_keys, sweep_rows, sweep_text
from ftctl.report.sweep_page import render_sweep

RATE = "training.learning_rate"
IDS = [f"tiny-{digit * 12}" for digit in "1234"]
DONE, GONE = Tombstones(success=True), Tombstones(cancelled=True)


def a_sweep(objective: Objective = "loss") -> Sweep:
    values = ["1e-05", "0.0001", "0.001", "0.01"]
    return Sweep(
        sweep_id="tiny-sweep-0123456789ab",
        content_hash="0" * 64,
        created=now(),
        objective=objective,
        stop_bad=True,
        alias="tiny-best",
        axes=[Axis(key=RATE, values=values)],
        children=[
            Child(run_id=run_id, values={RATE: value})
            for run_id, value in zip(IDS, values, strict=True)
        ],
    )


def record(run_id: str, loss: float, right: float, tombstones: Tombstones = DONE) -> RunRecord:
    after = Scores(rows=4, loss=loss, right_action=right)
    return RunRecord(
        run_id=run_id,
        collected=now(),
        metrics=(Metrics(step=8, epoch=1, eval_loss=loss + 1),),
        evaluation=Evaluation(after=after),
        tombstones=tombstones,
    )


RECORDS = [
    record(IDS[0], 2.0, 0.5),
    record(IDS[1], 1.5, 0.25),
    # The lowest loss of all, and yet nothing of it is published.
    record(IDS[2], 1.0, 0.75, GONE),
    RunRecord(run_id=IDS[3], collected=now()),
]
WHY = {IDS[2]: "by the sweep: it fell behind"}


@pytest.mark.parametrize(("objective", "best"), [("loss", IDS[1]), ("right_action", IDS[0])])
def test_the_best_is_the_best_of_those_published(objective: Objective, best: str) -> None:
    rows = sweep_rows(a_sweep(objective), RECORDS, WHY)

    assert [row.run_id for row in rows if row.best] == [best]
    assert ranked(rows, objective)[0].run_id == best
    assert ranked(rows, objective)[-1].run_id == IDS[3]


def test_without_a_published_run_there_is_no_best() -> None:
    rows = sweep_rows(a_sweep(), [RECORDS[2], RECORDS[3], RECORDS[3], RECORDS[3]], {})

    assert best_of(rows, "loss") is None


def test_until_the_model_is_scored_the_last_held_out_loss_counts() -> None:
    going = RunRecord(
        run_id=IDS[3],
        collected=now(),
        status=Status(
            run_id=IDS[3], stage="train", state="running", phase="training", heartbeat=now()
        ),
        metrics=(
            Metrics(step=4, epoch=1, eval_loss=3.0),
            Metrics(step=8, epoch=2, eval_loss=2.5),
        ),
    )

    row = sweep_rows(a_sweep(), [*RECORDS[:3], going], {})[3]

    assert (row.state, row.step, row.loss) == ("running", 8, 2.5)


def test_the_table_is_best_first_and_says_why_a_run_ended() -> None:
    text = sweep_text(a_sweep(), sweep_rows(a_sweep(), RECORDS, WHY))

    assert text.splitlines() == [
        "run                  learning_rate      state  step  held-out loss  right action",
        f"* {IDS[1]}         0.0001  succeeded     8          1.500         25.0%",
        f"  {IDS[2]}          0.001  cancelled     8          1.000         75.0%",
        f"  {IDS[0]}          1e-05  succeeded     8          2.000         50.0%",
        f"  {IDS[3]}           0.01    pending     -              -             -",
        "",
        f"{IDS[2]}: by the sweep: it fell behind",
    ]


def test_keys_are_short_where_that_tells_them_apart() -> None:
    assert short_keys(["training.seed", "model.lora_r"]) == {
        "training.seed": "seed",
        "model.lora_r": "lora_r",
    }
    assert short_keys(["dpo.beta", "grpo.beta"]) == {
        "dpo.beta": "dpo.beta",
        "grpo.beta": "grpo.beta",
    }


def test_a_plot_has_a_line_a_run_that_has_all_values() -> None:
    plot = parallel_coordinates(
        [
            Coordinate("rate", ["1e-05", "0.0001", "0.01"]),
            Coordinate("optim", ["a<b", "sgd", "sgd"]),
            Coordinate("loss", [2.0, 1.0, None]),
        ],
        [Trace("first"), Trace("second", best=True), Trace("third")],
    )

    assert plot is not None
    paths = list(ElementTree.fromstring(plot).iter("path"))
    assert [path.find("title").text for path in paths] == ["first", "second"]  # type: ignore[union-attr]
    assert "best" in paths[1].attrib["class"]
    # The lower number stands at the foot, and so does the first of texts.
    assert paths[0].attrib["d"] == "M90.0 316.0L240.0 316.0L390.0 46.0"
    assert paths[1].attrib["d"] == "M90.0 46.0L240.0 46.0L390.0 316.0"


def test_the_best_is_drawn_over_the_others_and_under_what_is_written() -> None:
    svg = parallel_coordinates(
        [Coordinate("rate", [1.0, 2.0, 3.0]), Coordinate("loss", [0.3, 0.1, 0.2])],
        [Trace("first"), Trace("second", best=True), Trace("third")],
    )
    assert svg is not None
    drawn = [svg.index(f"<title>{name}</title>") for name in ("first", "third", "second")]
    assert drawn == sorted(drawn)
    assert max(drawn) < svg.index("<text")


def test_a_scale_that_spans_decades_is_logarithmic() -> None:
    plot = parallel_coordinates(
        [Coordinate("rate", ["0.0001", "0.001", "0.01"]), Coordinate("loss", [1.0, 1.0, 1.0])],
        [Trace("a"), Trace("b"), Trace("c")],
    )

    assert plot is not None
    assert "rate (log)" in plot
    assert re.findall(r'd="M90.0 ([\d.]+)', plot) == ["316.0", "181.0", "46.0"]


def test_without_a_whole_run_there_is_no_plot() -> None:
    assert parallel_coordinates([Coordinate("loss", [None])], [Trace("a")]) is None


def test_a_page_needs_nothing_else_and_escapes_what_it_shows() -> None:
    sweep = a_sweep()
    rows = sweep_rows(sweep, RECORDS, {IDS[2]: "<script>alert(1)</script>"})

    page = render_sweep(sweep, rows)

    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r'(src|href)="', page)
    assert page.index(IDS[1]) < page.index(f'scope="row">{IDS[0]}')
    assert page == render_sweep(sweep, rows)


def losses(*values: float) -> list[Metrics]:
    """A held-out loss every ten steps."""
    return [
        Metrics(step=10 * number, epoch=1, eval_loss=value)
        for number, value in enumerate(values, start=1)
    ]


OTHERS = [losses(3.0, 2.0, 1.0), losses(3.0, 2.2, 1.0), losses(3.0, 2.4, 2.3)]


@pytest.mark.parametrize(
    ("own", "others", "said"),
    [
        pytest.param([], OTHERS, None, id="nothing-measured"),
        pytest.param(losses(3.0, 2.3), OTHERS[:2], None, id="too-few-others"),
        pytest.param(losses(3.0, 2.2), OTHERS, None, id="at-the-median"),
        pytest.param(losses(3.0, 2.3), OTHERS, "at step 20 its lowest", id="above-it"),
        # Compared with what the others had by then, not with what they have now.
        pytest.param(losses(2.9), OTHERS, None, id="early"),
        # It was as low before: one bad look does not end it.
        pytest.param(losses(2.0, 2.5), OTHERS, None, id="lowest-counts"),
        pytest.param(losses(3.0, math.nan), [], "not finite at step 20", id="diverged"),
        pytest.param(
            losses(3.0, 2.3), [*OTHERS[:2], losses(3.0)], None, id="others-have-not-come-as-far"
        ),
    ],
)
def test_a_run_above_the_median_of_others_at_the_same_step_falls_behind(
    own: list[Metrics], others: list[list[Metrics]], said: str | None
) -> None:
    found = falls_behind(own, others)

    assert (found is None) if said is None else (found is not None and said in found)
