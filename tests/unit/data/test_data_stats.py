"""Numbers about a data set."""

import pytest

from ftctl.contract.evaluation import Overlap
from ftctl.data.example import ActionPrompt, Example, Message
from ftctl.data.parts import answer_text
from ftctl.data.stats import DatasetStats, SplitStats, dataset_stats, percentiles


def row(row_id: str, request: str, action: str) -> Example:
    return Example(
        id=row_id,
        prompt=ActionPrompt(actions=["Open"], user_input=request),
        answer={"Content": {"Action": action}},
    )


@pytest.mark.parametrize(
    ("values", "want"),
    [
        pytest.param([], {}, id="none"),
        pytest.param([7], {"p50": 7, "p90": 7, "p99": 7, "p100": 7}, id="one"),
        pytest.param(
            list(range(100, 0, -1)), {"p50": 50, "p90": 90, "p99": 99, "p100": 100}, id="hundred"
        ),
    ],
)
def test_percentiles_are_values_of_the_rows(values: list[int], want: dict[str, int]) -> None:
    assert percentiles(values) == want


def test_stats_describe_each_split_and_what_it_shares() -> None:
    train = [row("1", "open", "Open"), row("2", "open", "Open"), row("3", "привет", "Talk")]
    assert dataset_stats({"train": train, "eval": [row("4", "Open!", "Open")]}) == DatasetStats(
        splits={
            "train": SplitStats(
                rows=3,
                shapes={"answer": 3},
                prompt_characters={"p50": 9, "p90": 11, "p99": 11, "p100": 11},
                answer_characters={"p50": 31, "p90": 31, "p99": 31, "p100": 31},
                actions={"Open": 2, "Talk": 1},
                unavailable=1,
                scripts={"Cyrillic": 1, "Latin": 2},
                duplicates=1,
            ),
            "eval": SplitStats(
                rows=1,
                shapes={"answer": 1},
                prompt_characters={"p50": 10, "p90": 10, "p99": 10, "p100": 10},
                answer_characters={"p50": 31, "p90": 31, "p99": 31, "p100": 31},
                actions={"Open": 1},
                unavailable=0,
                scripts={"Latin": 1},
                duplicates=0,
            ),
        },
        overlap={"eval": Overlap(rows=1, same_request=1, same_prompt=1)},
    )


ASKED = [Message(role="user", content="q")]


@pytest.mark.parametrize(
    ("example", "want"),
    [
        pytest.param(row("1", "q", "Свет"), '{"Content": {"Action": "Свет"}}', id="object"),
        pytest.param(
            Example(id="1", messages=[*ASKED, Message(role="assistant", content="a")]),
            "a",
            id="turn",
        ),
        pytest.param(Example(id="1", messages=ASKED, chosen="c", rejected="r"), "c", id="chosen"),
        pytest.param(
            Example(id="1", messages=ASKED, responses=["a", "b"], ranks=[2, 1]),
            "b",
            id="best-ranked",
        ),
        pytest.param(Example(id="1", messages=ASKED), "", id="none"),
    ],
)
def test_the_right_answer_is_the_better_one(example: Example, want: str) -> None:
    assert answer_text(example) == want
