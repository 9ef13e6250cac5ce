"""An estimate as text for a terminal."""

from __future__ import annotations

from ftctl.estimate.facts import Estimate
from ftctl.estimate.fits import gib

_UNKNOWN = "-"


def estimate_text(estimate: Estimate) -> str:
    """What the run takes, a line each; then the highest phase by part, and what is not known."""
    lines = [f"{name:<11}{value}" for name, value in _facts(estimate)]
    if estimate.highest:
        lines += ["", f"memory at the height of {estimate.highest.name}"]
        lines += _table(estimate.highest.parts)
        lines += ["", "memory by phase", *_table({it.name: it.total for it in estimate.memory})]
    if estimate.savings:
        lines += ["", "what would save memory", *_table(estimate.savings)]
    if estimate.notes:
        lines += ["", *(f"note: {note}" for note in estimate.notes)]
    return "\n".join(lines)


def plan_lines(estimate: Estimate) -> list[tuple[str, str]]:
    """The few lines that a plan shows before a run is started."""
    shown = ("GPU", "CPU", "steps", "time", "price", "disk")
    return [(name, value) for name, value in _facts(estimate) if name in shown]


def duration(seconds: float | None) -> str:
    """A rough time span: two digits are all that it deserves."""
    if seconds is None:
        return _UNKNOWN
    for unit_s, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 1.5 * unit_s:
            return f"about {seconds / unit_s:.2g} {name}"
    return f"about {seconds:.2g} s"


def _facts(estimate: Estimate) -> list[tuple[str, str]]:
    weights = _UNKNOWN if estimate.parameters is None else f"{estimate.parameters:,} weights"
    trained = f", {estimate.trainable:,} trained" if estimate.trainable is not None else ""
    again = {None: "", True: ", activations computed again", False: ", activations kept"}
    batch = f"{estimate.batch_rows} rows of up to {estimate.batch_tokens:,} tokens"
    tokens = "" if estimate.tokens is None else f", {estimate.tokens:,} tokens"
    return [
        ("model", f"{estimate.model} ({weights}{trained})"),
        (estimate.device.upper(), _device(estimate)),
        ("batch", f"{batch}{again[estimate.recompute]}"),
        ("steps", f"{_UNKNOWN if estimate.steps is None else format(estimate.steps, ',')}{tokens}"),
        ("time", _time(estimate)),
        ("price", _UNKNOWN if estimate.price is None else f"about {estimate.price:.2f}"),
        ("memory", _stages(estimate.train_host, estimate.convert_host)),
        ("disk", _stages(estimate.train_disk, estimate.convert_disk)),
    ]


def _device(estimate: Estimate) -> str:
    if estimate.peak is None:
        return _UNKNOWN
    text = gib(estimate.peak)
    if estimate.device == "gpu":
        has = estimate.gpu_memory
        text += f" of {gib(has)}" if has else ", and the profile does not say what one GPU has"
        text += f", {estimate.gpus} GPUs alike" if estimate.gpus > 1 else ""
    return text


def _time(estimate: Estimate) -> str:
    if estimate.seconds is None or estimate.tokens_per_s is None:
        return _UNKNOWN
    return f"{duration(estimate.seconds)} of training, {estimate.tokens_per_s:,.0f} tokens/s"


def _stages(train: dict[str, int], convert: dict[str, int]) -> str:
    if not train:
        return _UNKNOWN
    return f"train {gib(sum(train.values()))}, convert {gib(sum(convert.values()))}"


def _table(values: dict[str, int]) -> list[str]:
    width = max(map(len, values))
    ordered = sorted(values.items(), key=lambda item: -item[1])
    return [f"  {name:<{width}}  {gib(count):>10}" for name, count in ordered]
