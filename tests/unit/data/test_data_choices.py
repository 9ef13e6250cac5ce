"""What a configuration names, how rows are held out, and which method can use them."""

from typing import Any

import pytest

from ftctl.contract.spec import Config
from ftctl.data.demands import refuse_unfit
from ftctl.data.example import Example, Message
from ftctl.data.holdout import hold_out
from ftctl.data.parts import answer_text, right_action
from ftctl.data.problems import BadRowsError, Place, Problem, refuse_above
from ftctl.data.single import single_answers
from ftctl.data.wanted import wanted_files
from ftctl.errors import ConfigError, DataError

Named = tuple[str, list[str]]

ASKED = [Message(role="user", content="q")]
ANSWERED = Example(id="a", messages=[*ASKED, Message(role="assistant", content="a")])
PAIR = Example(id="p", messages=ASKED, chosen="c", rejected="r")
LABELLED = ANSWERED.model_copy(update={"label": False})
RANKED = Example(id="k", messages=ASKED, responses=["a", "b"], ranks=[1, 2])


@pytest.mark.parametrize(
    ("values", "train", "eval_", "test"),
    [
        pytest.param(
            {"dataset": {"train": "x.json"}},
            ("dataset.train", ["x.json"]),
            ("dataset.eval", []),
            ("testing.test_dataset", []),
            id="file",
        ),
        pytest.param(
            {"dataset": {"train": ["x", "y"], "eval": "e"}, "testing": {"test_dataset": "t"}},
            ("dataset.train", ["x", "y"]),
            ("dataset.eval", ["e"]),
            ("testing.test_dataset", ["t"]),
            id="all",
        ),
        pytest.param(
            {"model": {"dataset_name": "n.json"}, "paths": {"data_dir": "d"}},
            ("model.dataset_name", ["d/n.json"]),
            ("dataset.eval", []),
            ("testing.test_dataset", []),
            id="dataset-name",
        ),
        pytest.param(
            {
                "training": {"method": "grpo"},
                "dataset": {"train": "x"},
                "grpo": {"train_data": "g", "val_data": "v"},
            },
            ("grpo.train_data", ["g"]),
            ("grpo.val_data", ["v"]),
            ("testing.test_dataset", []),
            id="grpo-has-its-own",
        ),
        pytest.param(
            {"dataset": {"train": "x"}, "grpo": {"train_data": "g", "val_data": "v"}},
            ("dataset.train", ["x"]),
            ("dataset.eval", []),
            ("testing.test_dataset", []),
            id="other-methods-ignore-it",
        ),
    ],
)
def test_files_are_named_in_several_places(
    values: dict[str, Any], train: Named, eval_: Named, test: Named
) -> None:
    assert wanted_files(Config.model_validate(values)) == (train, eval_, test)


def test_a_configuration_without_data_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"dataset\.train: no training data is named"):
        wanted_files(Config())


def rows(count: int) -> list[Example]:
    return [ANSWERED.model_copy(update={"id": str(number)}) for number in range(count)]


@pytest.mark.parametrize(
    ("count", "fraction", "held"),
    [
        pytest.param(100, 0.1, 10, id="share"),
        pytest.param(10, 0.01, 1, id="at-least-one"),
        pytest.param(2, 0.99, 1, id="one-stays"),
    ],
)
def test_a_share_of_the_rows_is_held_out(count: int, fraction: float, held: int) -> None:
    train, eval_ = hold_out(rows(count), fraction, seed=1)
    assert (len(train), len(eval_)) == (count - held, held)
    assert sorted([*train, *eval_], key=lambda row: int(row.id)) == rows(count)


def test_the_same_rows_are_held_out_by_the_same_seed_and_others_by_another() -> None:
    assert hold_out(rows(100), 0.2, seed=1) == hold_out(rows(100), 0.2, seed=1)
    assert hold_out(rows(100), 0.2, seed=1)[1] != hold_out(rows(100), 0.2, seed=2)[1]


def test_one_row_cannot_be_split() -> None:
    with pytest.raises(DataError, match=r"dataset\.eval_fraction: 1 row cannot be split"):
        hold_out(rows(1), 0.5, seed=1)


@pytest.mark.parametrize(
    ("method", "row", "hint"),
    [
        pytest.param("sft", PAIR, "Set training.method=dpo", id="sft-refuses-pairs"),
        pytest.param("sft", RANKED, "Set training.method=grpo", id="sft-refuses-ranks"),
        pytest.param("dpo", ANSWERED, "Set training.method=sft", id="dpo-wants-pairs"),
        pytest.param("dpo", RANKED, "Set training.method=grpo", id="dpo-refuses-ranks"),
        pytest.param("grpo", PAIR, "Set training.method=dpo", id="grpo-refuses-pairs"),
        pytest.param("orpo", LABELLED, "Set training.method=kto", id="orpo-refuses-labels"),
        pytest.param("sft", LABELLED, "Set training.method=kto", id="sft-refuses-labels"),
        pytest.param("kto", ANSWERED, "Set training.method=sft", id="kto-wants-labels"),
    ],
)
def test_rows_of_another_method_are_refused_with_the_one_they_fit(
    method: str, row: Example, hint: str
) -> None:
    with pytest.raises(DataError, match=f"training.method={method} cannot use 1 rows") as caught:
        refuse_unfit({"train": [row]}, method)
    assert str(caught.value.hint).startswith(hint)
    assert f"  train row {row.id}: " in caught.value.what


@pytest.mark.parametrize(
    ("method", "row"),
    [
        ("sft", ANSWERED),
        ("dpo", PAIR),
        ("orpo", PAIR),
        ("kto", PAIR),
        ("kto", LABELLED),
        ("grpo", RANKED),
        ("grpo", ANSWERED),
    ],
)
def test_rows_of_the_method_pass(method: str, row: Example) -> None:
    refuse_unfit({"train": [row], "test": [ANSWERED]}, method)
    with pytest.raises(DataError, match="  test row p: preference"):
        refuse_unfit({"train": [row], "test": [PAIR]}, method)


def test_pairs_become_single_answers_whose_neighbours_have_other_prompts() -> None:
    asked = [[Message(role="user", content=text)] for text in ("q0", "q1", "q2")]
    pairs = [
        Example(id=f"p{n}", messages=messages, chosen=f"c{n}", rejected=f"r{n}")
        for n, messages in enumerate(asked)
    ]
    found = single_answers([LABELLED, *pairs])
    assert found[0] == LABELLED
    assert [(row.id, row.label) for row in found[1:]] == [
        ("p0/chosen", True),
        ("p2/rejected", False),
        ("p1/chosen", True),
        ("p0/rejected", False),
        ("p2/chosen", True),
        ("p1/rejected", False),
    ]
    assert [turn.content for turn in found[2].messages] == ["q2", "r2"]
    assert (right_action(found[2]), answer_text(found[2])) == (None, "r2")


def test_more_bad_rows_than_allowed_are_refused_and_the_first_shown() -> None:
    problems = [Problem(Place("x.json", line), "no answer", f"r{line}") for line in range(1, 24)]
    refuse_above(problems, 23)
    with pytest.raises(BadRowsError) as caught:
        refuse_above(problems, 22)
    lines = str(caught.value).splitlines()
    assert lines[0] == "x.json: 23 bad rows, and dataset.max_bad is 22"
    assert lines[1] == "  x.json:1: r1: no answer"
    assert lines[20:] == [
        "  x.json:20: r20: no answer",
        "  and 3 more",
        "Mend the rows, or leave them out with dataset.max_bad=23. "
        "`ftctl data validate` checks again.",
    ]
    assert caught.value.problems == problems
    assert problems[0].as_json() == {
        "file": "x.json",
        "number": 1,
        "unit": "line",
        "id": "r1",
        "reason": "no answer",
    }


@pytest.mark.parametrize(
    ("row_id", "shown"),
    [
        pytest.param("дверь", "дверь", id="letters"),
        pytest.param("a\x1b[31m", "'a\\x1b[31m'", id="terminal-escape"),
        pytest.param("\ud83d", "'\\ud83d'", id="half-a-pair"),
        pytest.param("x" * 99, "x" * 60 + "...", id="long"),
    ],
)
def test_an_id_is_shown_so_that_no_terminal_obeys_it(row_id: str, shown: str) -> None:
    problem = Problem(Place("x.parquet", 1, "row"), "no answer", row_id)
    assert str(problem) == f"x.parquet row 1: {shown}: no answer"
    assert problem.as_json()["id"] == shown
