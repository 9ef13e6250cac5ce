"""`helm`, and the chart as it renders values."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

CHART = Path(__file__).parents[2] / "charts" / "ftctl"
Object = dict[str, Any]
needs_helm = pytest.mark.skipif(shutil.which("helm") is None, reason="there is no helm")


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


def helm(*arguments: str, values: Mapping[str, Any] | None = None) -> Done:
    """Run helm to its end; `values` as from a file."""
    stdin = None if values is None else json.dumps(values)
    done = subprocess.run(
        ["helm", *arguments, *([] if values is None else ["-f", "-"])],
        capture_output=True,
        text=True,
        input=stdin,
        env={**os.environ, "NO_COLOR": "1"},
    )
    return Done(done.returncode, done.stdout, done.stderr)


def rendered(values: Mapping[str, Any], *arguments: str) -> dict[str, Object]:
    """The objects of a release called `demo` in the namespace `ml`, by `Kind name`."""
    done = helm("template", "demo", str(CHART), "-n", "ml", *arguments, values=values)
    assert done.code == 0, done.stderr
    bodies = [body for body in yaml.safe_load_all(done.stdout) if body]
    return {f"{body['kind']} {body['metadata']['name']}": body for body in bodies}


def of_kind(objects: Mapping[str, Object], kind: str) -> Object:
    """The one object of a kind."""
    [found] = [body for body in objects.values() if body["kind"] == kind]
    return found


def pod(objects: dict[str, Object]) -> Object:
    """The pod of the launcher's Job."""
    spec: Object = of_kind(objects, "Job")["spec"]["template"]["spec"]
    return spec


def launched(objects: dict[str, Object], folder: Path) -> tuple[Path, list[str]]:
    """The folder that the launcher would see, and its arguments."""
    [container] = pod(objects)["containers"]
    [volume] = [one for one in pod(objects)["volumes"] if one["name"] == "config"]
    data = objects[f"ConfigMap {volume['configMap']['name']}"]["data"]
    for mount in container["volumeMounts"]:
        if mount["name"] == "config":
            path = folder / mount["mountPath"].removeprefix("/config/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(data[mount["subPath"]])
    return folder, container["args"]
