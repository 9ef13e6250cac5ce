"""Paths as people write them."""

from pathlib import Path

import pytest

from ftctl.contract.paths import expanded
from ftctl.errors import ConfigError


def test_a_path_without_a_home_folder_stays() -> None:
    assert expanded("data/train.json", "dataset.train") == Path("data/train.json")


def test_the_home_folder_of_nobody_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"storage\.url: '~no-such-user/x' begins with a home"):
        expanded("~no-such-user/x", "storage.url")


def test_text_in_the_place_of_a_path_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"dataset\.train: 'a{60}\.\.\.' has a name of more than 255"
    ):
        expanded("a" * 300, "dataset.train")
