"""
Writes k8s/samples: what `ftctl render` makes of a few configurations. Run it in the project folder.

Example: python k8s/samples.py
"""

from __future__ import annotations

import shutil
from pathlib import Path

from ftctl.commands.render import render

FOLDER = Path(__file__).parent / "samples"
_PLACE = [
    "storage.url=s3://my-bucket/ftctl",
    "storage.secret=s3-keys",
    "cluster.namespace=ftctl",
]
SAMPLES = [
    # No GPU, in minutes: to try a cluster out.
    ["experiment=smoke", "cluster=cpu", *_PLACE],
    # One GPU, through a queue of Kueue, with the base model kept in a volume claim.
    [
        "experiment=quickstart",
        "cluster=h100",
        "cluster.queue=runs",
        "cluster.priority=batch",
        "cluster.cache={kind: pvc, name: model-cache}",
        "cluster.tolerations=[{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}]",
        *_PLACE,
    ],
]


def write_samples(folder: Path) -> None:
    """Render every sample into a folder that has nothing else in it."""
    for overrides in SAMPLES:
        render(overrides, output=folder)


if __name__ == "__main__":
    shutil.rmtree(FOLDER, ignore_errors=True)
    write_samples(FOLDER)
