"""What does not fit is refused with what would help."""

from __future__ import annotations

import pytest

from ftctl.contract.spec import Config
from ftctl.errors import ConfigError
from ftctl.estimate.fits import check_fits
from ftctl.estimate.run import estimate_run
from tests.unit.estimate.shapes import GIB, LLAMA_8B, config


def test_what_fits_or_is_not_known_is_not_refused() -> None:
    estimate = estimate_run(config(), LLAMA_8B, None)
    check_fits(estimate, 80 * GIB)
    check_fits(estimate, None)
    check_fits(estimate_run(config(), None, None), GIB)


def test_what_does_not_fit_is_refused_with_what_would_help() -> None:
    settings = config(training={"gradient_checkpointing": False, "per_device_train_batch_size": 16})
    estimate = estimate_run(settings, LLAMA_8B, None)
    with pytest.raises(ConfigError) as refused:
        check_fits(estimate, 79 * GIB)
    assert refused.value.what.startswith("training needs about ")
    assert "one GPU has 79.0 GiB: activations " in refused.value.what
    assert refused.value.hint is not None
    assert refused.value.hint.startswith(
        "Any one of these makes it fit: training.gradient_checkpointing=true (saves "
    )


def test_settings_that_do_not_suffice_alone_are_offered_as_such() -> None:
    estimate = estimate_run(Config(), LLAMA_8B, None)
    with pytest.raises(ConfigError, match="reference needs about") as refused:
        check_fits(estimate, 8 * GIB)
    assert refused.value.hint is not None
    assert refused.value.hint == (
        "These make it smaller, each alone too little: training.max_seq_length=1024 (saves "
        "2.4 GiB), model.modules_to_save=[] (saves 2.0 GiB); or take a larger GPU."
    )


def test_every_saving_that_is_offered_is_what_it_saves() -> None:
    settings = {"gradient_checkpointing": False, "per_device_train_batch_size": 4}
    before = estimate_run(Config.model_validate({"training": settings}), LLAMA_8B, None)
    lean = {"training": settings, "model": {"modules_to_save": []}}
    after = estimate_run(Config.model_validate(lean), LLAMA_8B, None)
    assert before.peak is not None
    assert after.peak == before.peak - before.savings["model.modules_to_save=[]"]
