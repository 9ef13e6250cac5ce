"""The chart's files that follow from the models, without Helm."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from ftctl import __version__

PROJECT = Path(__file__).parents[2]
CHART = PROJECT / "charts" / "ftctl"
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())


def test_the_schema_is_what_the_models_say() -> None:
    generate = runpy.run_path(str(PROJECT / "docs" / "chart_schema.py"))

    # Where they differ: `make reference`, and read the difference.
    assert generate["values_schema"]() == SCHEMA


def test_the_chart_has_the_version_of_ftctl() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


def test_the_default_values_are_valid_and_name_every_key() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    jsonschema.validate(values, SCHEMA)
    assert {*values, "global"} == set(SCHEMA["properties"])
    for section in ("launcher", "schedule", "sweep"):
        assert set(values[section]) == set(SCHEMA["properties"][section]["properties"])


@pytest.mark.parametrize(
    "config",
    [
        pytest.param({"training": {"learning_rate": 1e-4}}, id="number"),
        pytest.param({"training": {"learning_rate": "1e-4"}}, id="number-as-set-gives-it"),
        pytest.param({"training": {"max_steps": "${oc.env:STEPS}"}}, id="interpolation"),
        pytest.param({"testing": {"test": "${oc.env:TEST}"}}, id="flag-by-interpolation"),
        pytest.param({"cluster": {"resources": {"train": {"cpu": 2}}}}, id="quantity-as-number"),
        pytest.param({"cluster": {"node_selector": {"pool": "ml"}}}, id="labels-of-the-user"),
        pytest.param({"dataset": {"train": ["s3://b/a.jsonl", "s3://b/c.jsonl"]}}, id="list"),
        pytest.param({"defaults": [{"storage": "s3"}, "_self_"]}, id="choices"),
        pytest.param({"model": {"revision": None}}, id="null"),
    ],
)
def test_what_a_configuration_file_may_say_is_taken(config: dict[str, Any]) -> None:
    jsonschema.validate({"config": config}, SCHEMA)


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"experimnt": "smoke"}, id="misspelt"),
        pytest.param({"config": {"trainin": {}}}, id="misspelt-section"),
        pytest.param({"config": {"training": {"learning_rat": 1}}}, id="misspelt-key"),
        pytest.param({"config": {"training": {"learning_rate": "fast"}}}, id="no-number"),
        pytest.param({"config": {"training": {"method": "sfx"}}}, id="no-choice"),
        pytest.param({"config": {"training": {"learning_rate": 0}}}, id="out-of-range"),
        pytest.param({"config": {"cluster": {"namespace": "ml"}}}, id="the-releases-namespace"),
        pytest.param({"files": {"../x": ""}}, id="file-elsewhere"),
        pytest.param({"launcher": {"egressPorts": [0]}}, id="no-port"),
    ],
)
def test_what_the_models_would_refuse_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values, SCHEMA)
