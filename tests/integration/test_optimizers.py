"""Optimizers by name."""

import pytest

from ftctl.errors import ConfigError
from ftctl_trainer.methods.optimizers import check_optimizer


@pytest.mark.parametrize("name", ["adamw_torch", "paged_adamw_8bit", "lion_32bit"])
def test_optimizers_that_transformers_knows_are_accepted(name: str) -> None:
    check_optimizer(name)


def test_a_mistyped_optimizer_is_answered_with_what_is_near() -> None:
    with pytest.raises(
        ConfigError, match=r"training\.optim: there is no optimizer 'adamw_torh'\nNear it: adamw_to"
    ):
        check_optimizer("adamw_torh")
