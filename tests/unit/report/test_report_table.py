from __future__ import annotations

from ftctl.contract.evaluation import Evaluation, Scores
from ftctl.report.table import OutcomeRow, outcome_rows, outcome_text
from tests.report_records import evaluation, output, scores, verification

FULL = """\
          right action  Latin  Cyrillic  valid JSON  perplexity       KL  verified
before            5.0%   6.2%      0.0%       10.0%        48.2        -         -
after            90.0%  93.8%     75.0%      100.0%        1.32        -         -
q4_1             88.3%  91.7%     75.0%      100.0%        1.36   0.0214    passed
q8_0             90.0%  93.8%     75.0%      100.0%        1.33  0.00110    passed
majority         18.3%  18.8%     16.7%           -           -        -         -
keyword          30.0%  33.3%     16.7%           -           -        -         -

majority: always answers talk, the most frequent action in training.
keyword: the action that shares most word stems with the request.
overlap: of 60 held-out rows, 0 requests and 0 whole prompts stand in the training rows.
The fine-tune shows: each file is closer to the tuned model than the base."""


def test_a_finished_run_is_told_whole() -> None:
    assert outcome_text(evaluation(), verification()) == FULL


def test_a_run_without_actions_shows_what_was_measured() -> None:
    told = Evaluation(
        before=Scores(rows=12, exact_match=0.0, perplexity=20.11),
        after=Scores(rows=12, exact_match=0.25, perplexity=4.5),
    )
    assert outcome_text(told, None) == (
        "        exact match  perplexity\n"
        "before         0.0%        20.1\n"
        "after         25.0%        4.50"
    )


def test_pairs_and_rewards_are_told_below_the_table() -> None:
    told = Evaluation(
        before=Scores(rows=4, chosen_likelier=0.5, reward=-1.0),
        after=Scores(
            rows=4, chosen_likelier=0.75, preference_accuracy=1.0, reward_margin=1.52, reward=0.25
        ),
    )
    assert outcome_text(told, None).splitlines()[-3:] == [
        "pairs: the chosen answer gained more in 100.0% of held-out pairs, 1.52 on average.",
        "pairs: the chosen answer is the likelier in 75.0%, 50.0% before.",
        "reward: the likeliest answers to held-out prompts get 0.250 on average, -1.00 before.",
    ]


def test_single_answers_are_told_below_the_table() -> None:
    told = Evaluation(after=Scores(rows=4, moved_right=0.875, reward_margin=0.5))
    assert outcome_text(told, None).splitlines()[-1] == (
        "answers: 87.5% of held-out answers moved the right way, 0.500 on average."
    )


def test_nothing_measured_is_said() -> None:
    assert outcome_text(None, None) == "nothing measured yet"


def test_scripts_that_do_not_fit_are_left_out_and_the_rest_stays_within_100_columns() -> None:
    groups = {f"Script-{n:02}-of-many": Scores(rows=90 - n, right_action=0.5) for n in range(9)}
    told = Evaluation(before=scores(0.1, 0, 0, 1, 2), after=Scores(rows=60, right_action=0.5))
    told = told.model_copy(
        update={"after": told.after.model_copy(update={"groups": groups})}  # type: ignore[union-attr]
    )
    lines = outcome_text(told, None).splitlines()
    assert max(len(line) for line in lines) <= 100
    assert lines[0].split("  ")[-2:] == ["valid JSON", "perplexity"]


def test_a_verified_file_that_was_not_scored_has_a_row() -> None:
    proof = verification().model_copy(update={"outputs": [output("q5_0", 0.01, 0.97)]})
    assert outcome_rows(None, proof) == [OutcomeRow(name="q5_0", mean_kl=0.01, verified=True)]


def test_a_failed_check_fails_its_file() -> None:
    passed = output("q4_0", 0.4, 0.8)
    missed = passed.checks[0].model_copy(update={"passed": False})
    proof = verification().model_copy(
        update={"outputs": [passed.model_copy(update={"checks": [missed]})]}
    )
    assert outcome_text(None, proof).splitlines()[:2] == [
        "         KL  verified",
        "q4_0  0.400    FAILED",
    ]
