"""Imports without collections: afterwards Python collects as before, whatever happened."""

from __future__ import annotations

import gc

import pytest

from ftctl_trainer.memory import importing


def test_garbage_is_not_looked_for_while_importing() -> None:
    before = gc.get_freeze_count()
    try:
        with importing():
            assert not gc.isenabled()
        assert gc.isenabled()
        assert gc.get_freeze_count() > before
    finally:
        gc.unfreeze()


def test_a_failed_import_leaves_the_collector_on() -> None:
    try:
        with pytest.raises(ImportError), importing():
            raise ImportError
        assert gc.isenabled()
    finally:
        gc.unfreeze()
