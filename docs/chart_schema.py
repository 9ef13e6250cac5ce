"""
Writes charts/ftctl/values.schema.json, by which Helm checks values: `make reference`.

The chart's own keys stand here, those of a run's configuration come from the models.

Example: python docs/chart_schema.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from ftctl.contract.operational import Quantity
from ftctl.contract.spec import Config
from ftctl.contract.sweep import OBJECTIVES

FILE = Path(__file__).parents[1] / "charts" / "ftctl" / "values.schema.json"
Schema = dict[str, Any]
# Helm 3 knows no newer one.
_DRAFT = "http://json-schema.org/draft-07/schema#"
_INTERPOLATION = r"\$\{.+\}"
# `helm install --set a=1e-4` gives the text; so does a reference to another key.
_NUMBER_TEXT = rf"^([+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?|{_INTERPOLATION})$"
_QUANTITY = TypeAdapter(Quantity).json_schema()
# The release's namespace, and the cluster it is in: the chart sets them.
_NOT_FOR_VALUES = {"ClusterConfig": ("namespace", "context")}
_NAME = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"
_PATH = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$"


def values_schema() -> Schema:
    """JSON Schema of the chart's values."""
    config = Config.model_json_schema()
    definitions = config.pop("$defs")
    for name, keys in _NOT_FOR_VALUES.items():
        for key in keys:
            definitions[name]["properties"].pop(key)
    config = _object("a whole configuration, as a file of --config-dir", config["properties"])
    config["properties"] = {"defaults": _choices(), **config["properties"]}
    return {
        "$schema": _DRAFT,
        "title": "Values of the chart ftctl",
        **_object("a run, and how it is launched", _chart_keys(_loose(config))),
        "definitions": {name: _loose(node) for name, node in definitions.items()},
    }


def _chart_keys(config: Schema) -> Schema:
    return {
        "experiment": {"type": ["string", "null"], "description": "choice of the group experiment"},
        "overrides": _list("overrides, which win over `config`", {"type": "string"}),
        "config": config,
        "files": _map("files of the configuration's folder, by path", {"type": "string"}, _PATH),
        "sweep": _sweep(),
        "keepRuns": _flag("runs stay when the release is uninstalled"),
        "schedule": _schedule(),
        "launcher": _launcher(),
        "global": {"type": "object", "description": "Helm's own"},
    }


def _schedule() -> Schema:
    return _object(
        "launch again and again, instead of at install and upgrade",
        {
            "cron": {"type": ["string", "null"], "description": "as cron has it: 0 3 * * 1"},
            "timeZone": {"type": ["string", "null"], "description": "as Europe/Paris"},
            "always": _flag("a new run each time, not only when an input changed"),
            "suspend": _flag("not for now"),
        },
    )


def _sweep() -> Schema:
    count = ["integer", "null"]
    return _object(
        "a run of each combination of the values that overrides list",
        {
            "parallel": {
                "type": count,
                "minimum": 1,
                "description": "runs at once; null: one run, and no sweep",
            },
            "search": {
                "type": count,
                "minimum": 1,
                "description": "choose so many runs by what came of those before",
            },
            "by": {"enum": list(OBJECTIVES), "description": "what the best is best in"},
            "stopBad": _flag("stop runs that fall behind the median of others"),
            "alias": {"type": ["string", "null"], "description": "name of the best run"},
        },
    )


def _launcher() -> Schema:
    text: Schema = {"type": "string"}
    return _object(
        "the pod that composes, checks and creates the run",
        {
            "image": {"type": ["string", "null"], "description": "null: the convert stage's"},
            "imagePullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
            "imagePullSecrets": _list("names of Secrets", {"type": "string", "pattern": _NAME}),
            "secrets": _list(
                "names of Secrets with its environment, besides those that `config` names",
                {"type": "string", "pattern": _NAME},
            ),
            "env": _map("its environment; never a secret", text),
            "serviceAccount": {
                "type": ["string", "null"],
                "description": "one that is there, with the rights; null makes one and its Role",
            },
            "serviceAccountAnnotations": _map("for workload identity", text),
            "egressPorts": _list(
                "TCP ports it may reach besides 443, 6443 and the store's",
                {"type": "integer", "minimum": 1, "maximum": 65535},
            ),
            "resources": {"type": "object", "description": "as Kubernetes has them"},
            "nodeSelector": _map("labels its node must have", text),
            "tolerations": _list("taints it accepts", {"type": "object"}),
            "backoffLimit": _count("attempts after the first, where store or cluster fail"),
            "deadline": _count("seconds that all attempts may take", least=1),
        },
    )


def _choices() -> Schema:
    """A defaults list: `- storage: s3`."""
    choice = {"type": ["string", "array", "null"]}
    entry = {"type": ["string", "object"], "additionalProperties": choice}
    return _list("choices of groups, as `- storage: s3`", entry)


def _loose(node: Any) -> Any:
    """A model's schema, with what the models take besides, and without what Helm has no use for."""
    if isinstance(node, list):
        return [_loose(each) for each in node]
    if not isinstance(node, dict):
        return node
    if all(node.get(key) == value for key, value in _QUANTITY.items()):
        return {**_described(node), "type": ["string", "number"]}
    if "$ref" in node:
        return {"$ref": node["$ref"].replace("$defs", "definitions")}
    found = {
        key: {name: _loose(each) for name, each in value.items()}
        if key == "properties"
        else _loose(value)
        for key, value in node.items()
        if key not in ("title", "default", "examples")
    }
    kind = node.get("type")
    if kind in ("number", "integer"):
        return {**found, "type": ["number", "string"], "pattern": _NUMBER_TEXT}
    if kind == "boolean":
        return {**found, "type": ["boolean", "string"], "pattern": f"^({_INTERPOLATION})$"}
    return found


def _described(node: Schema) -> Schema:
    return {"description": node["description"]} if "description" in node else {}


def _object(description: str, properties: Schema) -> Schema:
    return {
        "type": "object",
        "description": description,
        "additionalProperties": False,
        "properties": properties,
    }


def _map(description: str, values: Schema, names: str | None = None) -> Schema:
    found = {"type": "object", "description": description, "additionalProperties": values}
    return {**found, "propertyNames": {"pattern": names}} if names else found


def _list(description: str, items: Schema) -> Schema:
    return {"type": "array", "description": description, "items": items}


def _flag(description: str) -> Schema:
    return {"type": "boolean", "description": description}


def _count(description: str, *, least: int = 0) -> Schema:
    return {"type": "integer", "description": description, "minimum": least}


if __name__ == "__main__":
    FILE.write_text(json.dumps(values_schema(), indent=1, ensure_ascii=False) + "\n", "utf-8")
