from __future__ import annotations

import json
import logging
import sys

import pytest

from ftctl.contract.status import LogLine, Metrics
from ftctl.errors import StoppedError
from ftctl_trainer.logging_config import JsonFormatter, ReadableFormatter
from ftctl_trainer.stop import end_if_stopped


def record(level: int, message: str, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("ftctl_trainer.x", level, "x.py", 1, message, None, None)
    made.__dict__.update(extra)
    return made


def test_a_json_line_reads_back_with_its_metrics() -> None:
    line = Metrics(step=5, epoch=0.5, loss=1.25)
    text = JsonFormatter().format(record(logging.INFO, "step 5", metrics=line))
    read = LogLine.model_validate_json(text)
    assert (read.level, read.logger, read.message) == ("info", "ftctl_trainer.x", "step 5")
    assert read.metrics == line
    assert "\n" not in text
    assert "status" not in json.loads(text)


def test_an_exception_stays_in_the_line_of_its_message() -> None:
    try:
        raise ValueError("odd")
    except ValueError:
        text = JsonFormatter().format(record(logging.ERROR, "a bug", exc_info=sys.exc_info()))
    line = json.loads(text)
    assert line["message"] == "a bug"
    assert line["traceback"].endswith("ValueError: odd")
    assert "\n" not in text


def test_a_readable_line_shows_the_level_only_where_it_is_worse_than_info() -> None:
    readable = ReadableFormatter()
    assert readable.format(record(logging.INFO, "training"))[9:] == "training"
    assert readable.format(record(logging.WARNING, "slow"))[9:] == "warning: slow"


def test_a_stop_that_was_asked_for_ends_the_stage() -> None:
    import threading

    stop = threading.Event()
    end_if_stopped(stop)
    stop.set()
    with pytest.raises(StoppedError, match="stopped on request; step 3 is saved") as caught:
        end_if_stopped(stop, saved="step 3 is saved")
    assert caught.value.exit_code == 75
