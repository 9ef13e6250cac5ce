"""What the reference says of JSON answers, to hold what commands print to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from pydantic import TypeAdapter

from ftctl.commands.answers import PRINTED
from ftctl.contract.spec import Config

PROJECT = Path(__file__).parents[1]
SCHEMA = json.loads((PROJECT / "docs" / "reference" / "json-schema.json").read_text())


def problems(command: str, told: Any) -> list[str]:
    """What in an answer is not as documented: unlike the schema, or unknown to the models."""
    if PRINTED[command] is Config:
        schema = Config.model_json_schema(mode="serialization")
    else:
        schema = {**SCHEMA["properties"][command], "$defs": SCHEMA["$defs"]}
    found = [error.message for error in Draft202012Validator(schema).iter_errors(told)]
    if found:
        return found
    adapter = TypeAdapter(PRINTED[command])
    known = adapter.dump_python(adapter.validate_python(told), mode="json", by_alias=True)
    return _unknown(told, known, command)


def _unknown(told: Any, known: Any, where: str) -> list[str]:
    """Fields that the models dropped."""
    if isinstance(told, dict) and isinstance(known, dict):
        found = [f"{where}.{name} is not documented" for name in told if name not in known]
        both = told.keys() & known.keys()
        return found + [
            each for name in both for each in _unknown(told[name], known[name], f"{where}.{name}")
        ]
    if isinstance(told, list) and isinstance(known, list):
        pairs = enumerate(zip(told, known, strict=True))
        return [each for at, (a, b) in pairs for each in _unknown(a, b, f"{where}[{at}]")]
    return []
