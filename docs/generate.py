"""
Writes docs/reference from the models, the commands' help and the exit codes: `make reference`.

Example: python docs/generate.py
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from typer.testing import CliRunner

from ftctl.app import COMMANDS, app, load_command
from ftctl.commands.answers import PRINTED
from ftctl.config import schema
from ftctl.config.compose import compose
from ftctl.config.explain import described_groups, part
from ftctl.config.tree import open_tree
from ftctl.contract import exits
from ftctl.contract.spec import Config
from ftctl.errors import ClusterError, FtctlError, ManifestError

FOLDER = Path(__file__).parent / "reference"
_NOTE = "<!-- Written by docs/generate.py (`make reference`): change what it reads. -->\n"
# A longer default is not shown in a table.
_WIDEST = 80
# A stage asks no cluster, renders nothing, and has no terminal.
_NEVER_A_PODS = (ManifestError.exit_code, ClusterError.exit_code, exits.INTERRUPTED)
_PLAIN = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "null": "null",
    "object": "object",
}


def write_reference(folder: Path) -> None:
    """Write every page into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")


def pages() -> dict[str, str]:
    """File name to content."""
    return {
        "configuration.md": configuration_page(),
        "commands.md": commands_page(),
        "exit-codes.md": exit_codes_page(),
        "json.md": json_page(),
        "json-schema.json": json.dumps(answers_schema(), indent=1, ensure_ascii=False) + "\n",
    }


def configuration_page() -> str:
    """Every key by section: what it may be, its default, its meaning; then the groups."""
    defaults = compose([]).model_dump(mode="json")
    tables: dict[str, list[list[str]]] = {}
    for path, key in schema.keys().items():
        if not key.is_section:
            row = [f"`{path}`", key.allowed, _default(path, part(defaults, path)), key.description]
            tables.setdefault(path.partition(".")[0] if "." in path else "", []).append(row)
    head = ["key", "value", "default", "meaning"]
    parts = [
        "# Configuration\n",
        "Every key can be set in a file or at the end of a command, as `KEY=VALUE`. "
        "`ftctl config explain KEY` says the same, and which file sets a key; "
        "`ftctl config schema` prints it as JSON Schema for an editor.\n",
    ]
    for section, rows in tables.items():
        title = f"## {section}\n\n{schema.keys()[section].description}\n" if section else ""
        parts.append(title + "\n" + _table(head, rows))
    parts.append("## Groups\n\nA choice is named as `GROUP=CHOICE`; it sets some keys at once.\n")
    choices = [
        [f"`{group}={choice}`", text]
        for group, texts in described_groups(open_tree(None)).items()
        for choice, text in texts.items()
    ]
    parts.append(_table(["choice", "what it is"], choices))
    return _page(parts)


def commands_page() -> str:
    """The help of every command."""
    parts = ["# Commands\n", _help([])]
    for names in command_names():
        parts += [f"## ftctl {' '.join(names)}\n", _help(names)]
    return _page(parts)


def command_names() -> Iterator[list[str]]:
    """Every command; of one that has commands itself, those."""
    for name in COMMANDS:
        below = getattr(load_command(name), "commands", None)
        yield from ([name, each] for each in below) if below else [[name]]


def exit_codes_page() -> str:
    """Exit codes of commands and pods, and what a Job does about them."""
    meanings: dict[int, list[str]] = {}
    for each in FtctlError.__subclasses__():
        meanings.setdefault(each.exit_code, []).append(str(inspect.getdoc(each)))
    rows = [
        [f"`{code}`", meaning, " ".join(meanings.get(code, ())), _in_a_pod(code)]
        for code, meaning in exits.MEANING.items()
    ]
    return _page(
        [
            "# Exit codes\n",
            "Commands and pods end with the same codes. "
            "[Troubleshooting](../how-to/troubleshooting.md) says what to do about them.\n",
            _table(["code", "in short", "meaning", "in a pod"], rows),
            "A pod that is killed ends with 137: it needed more memory than its limit, or did not "
            "end within `cluster.grace_period`. That counts against `cluster.backoff_limit`, "
            "unless the pod was evicted or preempted; then it does not count.\n",
        ]
    )


def json_page() -> str:
    """What every command with --json prints, a table an object."""
    found = answers_schema()
    parts = [
        "# JSON\n",
        "With `--json` a command prints one JSON object on stdout, on one line; `logs` prints one "
        "a line. What is not known is null, unless it is said to be left out. Times are ISO 8601, "
        "in UTC. New fields may come; none changes its meaning. "
        "[json-schema.json](json-schema.json) has the same as JSON Schema: `properties` has a "
        "schema a command.\n",
    ]
    rows = [[f"`{name}`", _words(node)] for name, node in found["properties"].items()]
    rows.append(["`config show`", "[every key](configuration.md), as `config schema` describes it"])
    parts.append(_table(["command", "prints"], rows))
    for name, node in found["$defs"].items():
        parts += [f"## {name}\n", _object(node)]
    return _page(parts)


def answers_schema() -> dict[str, Any]:
    """JSON Schema of an object that has every command's answer, but for `config show`."""
    answers = [
        (name, "serialization", TypeAdapter(kind))
        for name, kind in PRINTED.items()
        if kind is not Config
    ]
    by_name, definitions = TypeAdapter.json_schemas(answers)  # type: ignore[arg-type]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What ftctl's commands print with --json",
        "type": "object",
        "properties": {name: node for (name, _), node in by_name.items()},
        "$defs": definitions["$defs"],
    }


def _object(node: dict[str, Any]) -> str:
    rows = [
        [f"`{name}`", _words(field), _sentence(field.get("description", ""))]
        for name, field in node["properties"].items()
    ]
    about = inspect.cleandoc(node.get("description", ""))
    return f"{about}\n\n{_table(['field', 'value', 'meaning'], rows)}"


def _words(node: dict[str, Any]) -> str:
    """What a value is, in words; other objects are linked."""
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in node:
        return " or ".join(dict.fromkeys(map(_words, node["anyOf"])))
    if "const" in node:
        return f"`{json.dumps(node['const'])}`"
    if "enum" in node:
        return ", ".join(f"`{value}`" for value in node["enum"])
    if node.get("type") == "array":
        return f"list of {_words(node.get('items', {}))}"
    inner = node.get("additionalProperties")
    if node.get("type") == "object" and isinstance(inner, dict):
        return f"map of text to {_words(inner)}"
    if node.get("format") == "date-time":
        return "time"
    return _PLAIN.get(str(node.get("type")), "anything")


def _sentence(text: str) -> str:
    return " ".join(text.split())


def _in_a_pod(code: int) -> str:
    if code in _NEVER_A_PODS:
        return "-"
    if code == exits.OK:
        return "the stage is done"
    if code == exits.STOPPED:
        return "does not count; another pod goes on from the checkpoint"
    if code in exits.NEVER_RETRIED:
        return "ends the run at once"
    return "counts against `cluster.backoff_limit`; another pod tries again"


def _default(path: str, value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return f"`{text}`" if len(text) <= _WIDEST else f"`ftctl config show -p {path}` prints it"


def _help(names: list[str]) -> str:
    found = CliRunner().invoke(app, [*names, "--help"], prog_name="ftctl", env={"COLUMNS": "80"})
    assert found.exit_code == 0, found.output
    return f"```text\n{found.stdout.strip()}\n```\n"


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    cells = [head, ["---"] * len(head), *([_cell(each) for each in row] for row in rows)]
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _page(parts: Iterable[str]) -> str:
    return _NOTE + "\n" + "\n".join(parts)


if __name__ == "__main__":
    write_reference(FOLDER)
