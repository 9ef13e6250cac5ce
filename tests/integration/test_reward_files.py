"""Files of rewards: read when a run is made, part of its identity, checked without being run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ftctl.contract.identity import content_hash, deciding
from ftctl.contract.spec import Config
from ftctl.errors import ConfigError
from ftctl.runs.rewards import reward_files


def _config(*rewards: str, method: str = "grpo") -> Config:
    settings: dict[str, Any] = {"training": {"method": method}}
    if rewards:
        settings["grpo"] = {"rewards": list(rewards)}
    return Config.model_validate(settings)


def test_texts_come_by_the_names_that_the_configuration_has(tmp_path: Path) -> None:
    (tmp_path / "tone.py").write_text("def polite(answer, row):\n    return 1\n")
    (tmp_path / "s.json").write_text("{}")
    config = _config("tone.py:polite", "json_schema:s.json", "similarity")
    assert reward_files(config, tmp_path) == {
        "tone.py": "def polite(answer, row):\n    return 1\n",
        "s.json": "{}",
    }
    assert reward_files(_config("tone.py:polite", method="sft"), tmp_path) == {}


def test_another_text_makes_another_run() -> None:
    config = _config("tone.py:polite")

    def hashed(files: dict[str, str]) -> str:
        return content_hash(
            deciding(
                config,
                model=None,
                revision="r",
                data_digest="d",
                template="t",
                reward_files=files,
            )
        )

    assert hashed({"tone.py": "a"}) == hashed({"tone.py": "a"})
    assert hashed({"tone.py": "a"}) != hashed({"tone.py": "b"})


@pytest.mark.parametrize(
    ("text", "reward", "message"),
    [
        pytest.param(None, "tone.py:polite", "tone.py: No such file", id="absent"),
        pytest.param(
            "def polite(answer, row)\n    return 1\n",
            "tone.py:polite",
            r"tone.py:1: syntax error in the reward: expected ':'",
            id="syntax-error",
        ),
        pytest.param(
            "def polite(answer, row): return 1\n",
            "tone.py:polit",
            "there is no function 'polit'",
            id="no-such-function",
        ),
        pytest.param("{", "json_schema:tone.py", "this is no JSON", id="schema-that-is-no-json"),
        pytest.param("#" * 300_000, "tone.py:polite", "larger than 256 KiB", id="too-large"),
    ],
)
def test_what_cannot_work_is_refused_before_a_run(
    tmp_path: Path, text: str | None, reward: str, message: str
) -> None:
    if text is not None:
        (tmp_path / "tone.py").write_text(text)
    with pytest.raises(ConfigError, match=message):
        reward_files(_config(reward), tmp_path)
