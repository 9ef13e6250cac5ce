"""Files that rewards need: read, checked without being run, and carried in the run's file."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

from ftctl.contract.paths import expanded
from ftctl.contract.rewards import RewardName, parse_reward
from ftctl.contract.spec import Config
from ftctl.errors import ConfigError

_KEY = "grpo.rewards"
# A ConfigMap holds 1 MiB in all.
_LIMIT_BYTES = 256 * 1024


def reward_files(config: Config, base_dir: Path) -> dict[str, str]:
    """
    Texts by their names in grpo.rewards; empty for other methods.

    Raises:
        ConfigError: a file is not there, is too large, has a syntax error, or lacks the function.
    """
    if config.training.method != "grpo":
        return {}
    found: dict[str, str] = {}
    for reward in map(parse_reward, config.grpo.rewards):
        if reward.file is None:
            continue
        path = base_dir / expanded(reward.file, _KEY)
        text = found.setdefault(reward.file, _read(path))
        _check(reward, text, path)
    return found


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", where=_KEY) from error
    except UnicodeDecodeError as error:
        raise ConfigError("the file is not UTF-8", where=str(path)) from error
    if len(text.encode()) > _LIMIT_BYTES:
        raise ConfigError(
            f"the file is larger than {_LIMIT_BYTES // 1024} KiB, which is what a run carries",
            where=str(path),
        )
    return text


def _check(reward: RewardName, text: str, path: Path) -> None:
    if reward.name == "json_schema":
        try:
            json.loads(text)
        except ValueError as error:
            raise ConfigError(f"this is no JSON: {error}", where=str(path)) from error
        return
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        raise ConfigError(
            f"syntax error in the reward: {getattr(error, 'msg', error)}", where=f"{path}:{line}"
        ) from error
    names = _names(tree)
    if reward.argument not in names:
        near = get_close_matches(reward.argument, names, n=1)
        raise ConfigError(
            f"there is no function {reward.argument!r}",
            where=str(path),
            hint=f"Did you mean {near[0]}?" if near else "It takes (answer, row): a number.",
        )


def _names(tree: ast.Module) -> Mapping[str, None]:
    """What the file defines at its top level; imports and assignments may be functions too."""
    found: dict[str, None] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = None
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found.update(dict.fromkeys(alias.asname or alias.name for alias in node.names))
        elif isinstance(node, ast.Assign):
            found.update(
                dict.fromkeys(target.id for target in node.targets if isinstance(target, ast.Name))
            )
    return found
