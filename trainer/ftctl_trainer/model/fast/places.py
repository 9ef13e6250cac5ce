"""Of how many layers what is kept stays on the device, waits in main memory, or is made again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """What one layer of a pass costs."""

    rest: int
    """Bytes of all that it keeps but the gates."""
    gates: int
    entering: int
    """Bytes of what enters it, which is kept where all else is computed again."""
    again_s: float
    """Seconds to compute it again."""
    gates_s: float
    """Seconds to compute its gates again."""


@dataclass(frozen=True)
class Places:
    """The first layers wait in main memory, the last stay, those between are computed again."""

    away: int
    gates: int
    """Layers of those away whose gates wait too."""
    stay: int
    room: float
    """Bytes on the device for what layers keep, those on their way with it."""
    main: int
    """Bytes in main memory."""

    def gates_leave(self, layer: int) -> bool:
        """Whether a layer's gates wait in main memory: they are spread among those away."""
        if layer >= self.away:
            return False
        return (layer + 1) * self.gates // self.away > layer * self.gates // self.away


def share_out(layers: int, cost: Cost, *, device: float, main: float, link: float) -> Places:
    """
    Choose what takes the least time to compute again, and of that what sends least.

    Args:
        device: bytes there.
        main: bytes of main memory.
        link: bytes that leave the device while a forward pass computes. More would be waited for.
    """
    plans = [_with(away, layers, cost, device, main, link) for away in range(layers + 1)]
    # Where no plan has room on the device, the one that wants the least.
    return min(
        (found for found in plans if found is not None),
        key=lambda found: (max(0.0, -found[1].room), found[0], found[1].main),
    )[1]


def _with(
    away: int, layers: int, cost: Cost, device: float, main: float, link: float
) -> tuple[float, Places] | None:
    """Seconds to compute again what with so many layers away is not kept, and the places."""
    whole = cost.rest + cost.gates
    # Half a layer is on its way where the last ones begin to stay.
    spare = device - (whole / 2 if away else 0) - (layers - away) * cost.entering
    stay = max(0, min(layers - away, int(spare // (whole - cost.entering))))
    # What is still on its way at the end need not leave: it is wanted next.
    late = max(0.0, spare - stay * (whole - cost.entering))
    left = min(main, link + late) - away * cost.rest
    if away and left < 0:
        return None
    gates = max(0, min(away, int(left // cost.gates)))
    again = layers - away - stay
    seconds = again * cost.again_s + (away - gates) * cost.gates_s
    sent = away * cost.rest + gates * cost.gates
    return seconds, Places(away, gates, stay, device - again * cost.entering, sent)
