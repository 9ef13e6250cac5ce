from __future__ import annotations

from typing import Any

import pytest

from ftctl.errors import ConfigError
from ftctl_trainer.model.precision import Machine, Precision, choose_precision

NEW_GPU, OLD_GPU = Machine(gpu=True, bf16=True), Machine(gpu=True, bf16=False)
NEW_CPU, OLD_CPU = Machine(gpu=False, bf16=True), Machine(gpu=False, bf16=False)


@pytest.mark.parametrize(
    ("machine", "asked", "want"),
    [
        pytest.param(
            NEW_GPU, {"torch_dtype": "float16"}, Precision("float16", "fp16"), id="dtype-decides"
        ),
        pytest.param(
            OLD_GPU, {"torch_dtype": "float32"}, Precision("float32", None), id="float32-is-plain"
        ),
        pytest.param(
            NEW_GPU,
            {"torch_dtype": "float32", "bf16": True},
            Precision("float32", "bf16"),
            id="a-flag-overrides-autocast-alone",
        ),
        pytest.param(
            Machine(gpu=True, bf16=True, fp8=True),
            {"torch_dtype": "float16", "compute": "fp8"},
            Precision("bfloat16", "bf16", float8=True),
            id="fp8",
        ),
        pytest.param(
            NEW_GPU,
            {"torch_dtype": "float16", "fp16": True, "compute": "bf16"},
            Precision("bfloat16", "bf16"),
            id="compute-overrides-both",
        ),
        pytest.param(
            NEW_CPU,
            {"torch_dtype": "float16"},
            Precision(
                "bfloat16", None, note="a CPU has no float16 arithmetic: training in bfloat16"
            ),
            id="float16-on-a-new-cpu",
        ),
        pytest.param(
            OLD_CPU,
            {"torch_dtype": "float16"},
            Precision("float32", None, note="a CPU has no float16 arithmetic: training in float32"),
            id="float16-on-an-old-cpu",
        ),
        pytest.param(
            OLD_CPU,
            {"torch_dtype": "bfloat16"},
            Precision("bfloat16", None),
            id="bfloat16-asked-for-stays",
        ),
        pytest.param(
            NEW_CPU,
            {"torch_dtype": "float32", "bf16": True},
            Precision("bfloat16", None),
            id="nothing-is-autocast-on-a-cpu",
        ),
        pytest.param(
            NEW_CPU,
            {"torch_dtype": "float16", "compute": "fp32"},
            Precision("float32", None),
            id="compute-on-a-cpu",
        ),
    ],
)
def test_the_precision_follows_compute_then_flags_then_dtype(
    machine: Machine, asked: dict[str, Any], want: Precision
) -> None:
    assert choose_precision(machine, **asked) == want


@pytest.mark.parametrize(
    ("machine", "asked", "message"),
    [
        pytest.param(
            OLD_GPU,
            {"torch_dtype": "bfloat16"},
            "model.torch_dtype: this GPU has no bfloat16",
            id="bfloat16-on-an-old-gpu",
        ),
        pytest.param(
            OLD_GPU,
            {"torch_dtype": "float16", "compute": "bf16"},
            "training.compute: this GPU has no bfloat16",
            id="the-key-that-asked-is-named",
        ),
        pytest.param(
            NEW_GPU,
            {"torch_dtype": "float16", "compute": "fp8"},
            "training.compute: fp8 is not available here",
            id="fp8",
        ),
    ],
)
def test_a_format_that_the_machine_lacks_is_refused(
    machine: Machine, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        choose_precision(machine, **asked)
