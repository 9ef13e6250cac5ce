"""pushed.json: where a published run's files were pushed to."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from ftctl.contract.operational import PublishConfig
from ftctl.contract.status import Stored

Target = Literal["hub", "oci"]


class Push(Stored):
    """One push that was finished."""

    target: Target
    place: str = Field(description="as publish.hub or publish.oci named it")
    revision: str = Field(description="commit at the hub, or digest of the artifact's manifest")
    manifest_sha256: str = Field(description="of the run's manifest.json, as it was then")
    time: datetime


class Pushed(Stored):
    """All pushes of a run, the newest of each place."""

    pushes: list[Push] = Field(default_factory=list)

    def has(self, target: Target, place: str, manifest_sha256: str) -> bool:
        """Whether the files of this manifest are at a place."""
        wanted = (target, place, manifest_sha256)
        return any(
            (push.target, push.place, push.manifest_sha256) == wanted for push in self.pushes
        )

    def with_push(self, push: Push) -> Pushed:
        """The same with one more; an older one to its place goes."""
        kept = [one for one in self.pushes if (one.target, one.place) != (push.target, push.place)]
        return Pushed(pushes=[*kept, push])


def wanted_targets(publish: PublishConfig) -> dict[Target, str]:
    """Where a configuration wants the files pushed to."""
    found: dict[Target, str | None] = {"hub": publish.hub, "oci": publish.oci}
    return {target: place for target, place in found.items() if place}
