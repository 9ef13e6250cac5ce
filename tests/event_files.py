"""Reads TensorBoard's event files back, by TensorBoard's own reader."""

from __future__ import annotations

from pathlib import Path


def scalars(body: bytes, folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Every curve of an event file, as (step, value); `folder` is where it is unpacked."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder.mkdir()
    (folder / "events.out.tfevents.0").write_bytes(body)
    # Nothing is left out of a long curve.
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    found.Reload()
    return {
        name: [(event.step, event.value) for event in found.Scalars(name)]
        for name in found.Tags()["scalars"]
    }
