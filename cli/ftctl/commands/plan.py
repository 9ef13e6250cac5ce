"""What a submission is about to do, before it is done: for people and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ftctl.cluster.place import Place
    from ftctl.contract.runfile import RunFile
    from ftctl.estimate.facts import Estimate


@dataclass(frozen=True)
class Plan:
    """Pairs of a name and a value, in the order they are shown, and the objects."""

    run_id: str
    place: str
    pairs: tuple[tuple[str, str], ...]
    objects: tuple[str, ...]
    notes: tuple[str, ...] = ()
    estimate: dict[str, Any] = field(default_factory=dict)

    def text(self) -> str:
        """A line a fact, then what is created, then what is worth knowing."""
        lines = [f"{name:<11}{value}" for name, value in (("run", self.run_id), *self.pairs)]
        lines.append(f"{'creates':<11}{', '.join(self.objects)}")
        lines += [f"{'note':<11}{note}" for note in self.notes]
        return "\n".join(lines)

    def values(self) -> dict[str, Any]:
        """The same as plain values."""
        return {
            "run_id": self.run_id,
            "place": self.place,
            **dict(self.pairs),
            "objects": list(self.objects),
            "notes": list(self.notes),
            **({"estimate": self.estimate} if self.estimate else {}),
        }


def make_plan(
    run: RunFile,
    place: Place,
    objects: Sequence[dict[str, Any]],
    estimate: Estimate | None,
    notes: Sequence[str],
) -> Plan:
    """The plan of a run that is to be created; a run that goes on has been estimated before."""
    from ftctl.cluster.kinds import name_of
    from ftctl.estimate.text import plan_lines

    return Plan(
        run_id=run.run_id,
        place=str(place),
        pairs=(
            ("cluster", f"{place}  ({place.cluster.server})"),
            ("model", f"{run.model.name} at {run.model.revision[:12]}"),
            ("data", ", ".join(f"{rows} {name} rows" for name, rows in run.data.rows.items())),
            ("train", _stage(run, "train")),
            ("convert", _stage(run, "convert")),
            *(plan_lines(estimate) if estimate else ()),
            ("results", f"{run.config.storage.url}/runs/{run.run_id}/"),
        ),
        objects=tuple(_short(name_of(body)) for body in objects),
        notes=(*notes, *(estimate.notes if estimate else ())),
        estimate=estimate.model_dump(mode="json") if estimate else {},
    )


def needs_of(estimate: Estimate) -> dict[str, str]:
    """The memory that each stage is expected to take, for the message when it had too little."""
    from ftctl.estimate.fits import gib

    hosts = {"train": estimate.train_host, "convert": estimate.convert_host}
    return {stage: gib(sum(parts.values())) for stage, parts in hosts.items() if parts}


def _stage(run: RunFile, stage: str) -> str:
    """`4 cpu, 32Gi, 1 nvidia.com/gpu; image ftctl-train:0.1.0`."""
    from ftctl import __version__

    cluster = run.config.cluster
    of_stage = cluster.resources.train if stage == "train" else cluster.resources.convert
    asked = [f"{of_stage.cpu} cpu", of_stage.memory]
    if stage == "train" and cluster.gpus:
        asked.append(f"{cluster.gpus} {cluster.gpu_resource}")
    if stage == "train" and cluster.nodes > 1:
        asked[-1] += f", on each of {cluster.nodes} nodes"
    image = cluster.image_of("train" if stage == "train" else "convert", __version__)
    return f"{', '.join(asked)}; image {image}"


def _short(name: str) -> str:
    kind, _, rest = name.partition(" ")
    return f"{kind} {rest.rpartition('/')[2]}"
