"""What a cluster showed of runs, recorded from a real one (Kubernetes 1.35)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ftctl.cluster.judge import judge
from ftctl.cluster.observed import Observed
from ftctl.contract.clusterview import Reason, StageView

RECORDED = Path(__file__).parent / "recorded"
NEEDS = {"train": "0.2 GiB"}


def recorded(case: str) -> dict[str, Any]:
    """Jobs, pods, events and logs of one run."""
    loaded: dict[str, Any] = json.loads((RECORDED / f"{case}.json").read_text(encoding="utf-8"))
    return loaded


def view(found: dict[str, Any]) -> StageView:
    """What is made of the only stage that was recorded."""
    [stage] = judge("team-a", Observed(**found, needs=NEEDS)).stages
    return stage


def reason(code: str, what: str, hint: str | None = None) -> Reason:
    return Reason(code=code, what=what, hint=hint)
