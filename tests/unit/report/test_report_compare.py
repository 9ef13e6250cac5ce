"""Runs side by side."""

from __future__ import annotations

from dataclasses import replace

from ftctl.report.compare import compare, comparison_json, comparison_text
from ftctl.report.record import RunRecord
from tests import report_records as made


def other() -> RunRecord:
    """The same data at another learning rate, on another cluster, still at work."""
    run = made.run_file()
    training = run.config.training.model_copy(update={"learning_rate": 0.001})
    cluster = run.config.cluster.model_copy(update={"namespace": "elsewhere"})
    config = run.config.model_copy(update={"training": training, "cluster": cluster})
    return RunRecord(
        run_id="quickstart-77c0de15ab42",
        collected=made.after(100),
        run=run.model_copy(update={"config": config}),
        metrics=made.record().metrics[:3],
    )


def test_shows_the_inputs_that_differ_and_leaves_out_where_it_ran() -> None:
    found = compare([made.record(), other()])
    rate = made.run_file().config.training.learning_rate
    assert [(line.name, line.values) for line in found.inputs] == [
        ("training.learning_rate", (str(rate), "0.001")),
    ]


def test_results_that_one_run_lacks_are_empty_there() -> None:
    found = {line.name: line for line in compare([made.record(), other()]).results}
    assert found["state"].values == ("succeeded", "pending")
    assert found["after: right action"].shown == ("90.0%", "-")
    assert found["q4_1: verified"].values == (True, None)
    assert found["q4_1: size"].shown == ("982 B", "-")


def test_another_base_or_data_set_is_named() -> None:
    run = made.run_file()
    changed = run.model_copy(
        update={
            "model": run.model.model_copy(update={"revision": "0" * 64}),
            "data": run.data.model_copy(update={"digest": "1" * 64}),
            "template": "{{ user_input }}",
        }
    )
    found = compare([made.record(), replace(made.record(), run=changed)])
    assert [line.name for line in found.inputs] == ["base model", "data set", "prompt layout"]
    assert found.inputs[1].values == (run.data.digest, "1" * 64)


def test_the_text_has_a_column_a_run() -> None:
    lines = comparison_text(compare([made.record(), other()])).splitlines()
    assert lines[:2] == [f"[1] {made.RUN_ID}", "[2] quickstart-77c0de15ab42"]
    assert lines[3].split() == ["differs", "[1]", "[2]"]
    assert lines[4].split()[0] == "training.learning_rate"
    assert lines[6].split() == ["result", "[1]", "[2]"]


def test_the_same_inputs_are_said_to_be_the_same() -> None:
    text = comparison_text(compare([made.record(), made.record()]))
    assert text.endswith("the runs have the same inputs")


def test_json_has_values_and_not_their_text() -> None:
    told = comparison_json(compare([made.record(), other()]))
    assert told["runs"] == [made.RUN_ID, "quickstart-77c0de15ab42"]
    assert {"name": "after: right action", "values": [0.9, None]} in told["results"]
    assert told["problems"] == []


def test_a_run_without_a_config_is_compared_as_far_as_it_goes() -> None:
    bare = RunRecord("bare-0123456789ab", made.START, problems=("config.yaml: not YAML",))
    found = compare([made.record(), bare])
    assert found.problems == ("bare-0123456789ab: config.yaml: not YAML",)
    assert {line.values[1] for line in found.inputs} == {None}
