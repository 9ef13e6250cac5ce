"""Names of optimizers, checked before a model is loaded."""

from __future__ import annotations

from difflib import get_close_matches

from ftctl.errors import ConfigError


def check_optimizer(name: str) -> None:
    """Refuse an optimizer that the installed transformers does not know. Raises ConfigError."""
    from transformers.training_args import OptimizerNames

    known = [str(item.value) for item in OptimizerNames]
    if name not in known:
        near = get_close_matches(name, known, n=5, cutoff=0.4) or ["adamw_torch"]
        raise ConfigError(
            f"there is no optimizer {name!r}",
            where="training.optim",
            hint=f"Near it: {', '.join(near)}.",
        )
