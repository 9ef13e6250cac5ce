"""Samples, settings and the timeline of a report."""

from __future__ import annotations

import pytest

from ftctl.contract.spec import Config
from ftctl.contract.status import Event
from ftctl.report.samples import Answer, JudgedSample, judge, judged_samples
from ftctl.report.settings import Setting, changed_settings, config_text
from ftctl.report.timeline import Entry, timeline
from tests.report_records import after, answer, evaluation, events, run_file


@pytest.mark.parametrize(
    ("expected", "said", "verdict"),
    [
        pytest.param(answer("a"), answer("a", "words"), (True, "right action"), id="other-words"),
        pytest.param(answer("a"), answer("b"), (False, "wrong action"), id="other-action"),
        pytest.param(answer("a"), "a lamp", (False, "not JSON"), id="prose"),
        pytest.param(answer("a"), '{"x": 1}', (False, "names no action"), id="other-json"),
        pytest.param(answer("a"), "[" * 100_000, (False, "not JSON"), id="endless-brackets"),
        pytest.param("yes", " yes\n", (True, "same text"), id="plain-text"),
        pytest.param("yes", "no", (False, "other text"), id="other-plain-text"),
    ],
)
def test_an_answer_is_judged_as_the_evaluation_does(
    expected: str, said: str, verdict: tuple[bool, str]
) -> None:
    assert judge(expected, said) == verdict


def test_a_sample_has_only_the_answers_that_were_given() -> None:
    sample = evaluation().samples[1].model_copy(update={"before": None, "quantized": {}})
    told = evaluation().model_copy(update={"samples": [sample]})
    assert judged_samples(told) == [
        JudgedSample(
            id="h-049",
            request="Что-то прохладно стало, сделай потеплее в спальне",
            answers=(
                Answer("expected", answer("raise_heating", "В спальне станет теплее."), None, ""),
                Answer("after", answer("raise_heating", "Делаю теплее."), True, "right action"),
            ),
        )
    ]


def test_changed_settings_are_those_off_their_defaults() -> None:
    assert changed_settings(run_file().config) == [
        Setting("name", "quickstart", "null"),
        Setting("model.modules_to_save", "[]", '["lm_head"]'),
        Setting("model.qtype", '["q4_1", "q8_0"]', "q4_1"),
        Setting("training.learning_rate", "0.0002", "2e-05"),
        Setting("testing.test", "true", "false"),
        Setting("cluster.env.API_KEY", "(not shown)", ""),
    ]


def test_no_setting_is_changed_by_default() -> None:
    assert changed_settings(Config()) == []


def test_no_secret_stands_in_the_configuration() -> None:
    config = Config.model_validate(
        {
            "other": {"hf_token": "hf_abcdef"},
            "cluster": {"env": {"KEY": "env-abcdef"}, "proxy": "http://me:pw-abcdef@proxy:3128"},
            "storage": {"endpoint_url": "https://key:s3-abcdef@s3.example"},
        }
    )
    told = config_text(config) + str(changed_settings(config))
    assert "abcdef" not in told
    assert "proxy: http://***@proxy:3128" in told


def test_a_long_row_of_checkpoints_is_one_line() -> None:
    assert timeline(events()) == [
        Entry(after(0), "train", "started", "holder laptop-1"),
        Entry(after(60), "train", "checkpoint", "step 10 … step 40", 4),
        Entry(after(190), "train", "resumed", "step 40"),
        Entry(after(270), "train", "succeeded", "steps 90"),
        Entry(after(275), "convert", "started", ""),
        Entry(after(372), "convert", "succeeded", ""),
    ]


def test_events_are_told_in_the_order_of_their_times() -> None:
    late = Event(time=after(9), stage="train", kind="late")
    early = Event(time=after(1), stage="train", kind="early", data={"eta_s": 4})
    assert timeline([late, early]) == [
        Entry(after(1), "train", "early", "eta s 4"),
        Entry(after(9), "train", "late", ""),
    ]
