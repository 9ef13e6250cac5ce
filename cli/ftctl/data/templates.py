"""Prompt layouts: found by name or path, and checked before anything is trained with them."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ftctl.contract.paths import expanded
from ftctl.errors import ConfigError

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

VARIABLES = ("history", "actions", "user_input")
SUFFIX = ".jinja"
_KEY = "dataset.template"


def load_template(name_or_path: str, *folders: Path, base_dir: Path | None = None) -> str:
    """
    The text of a layout, checked.

    Args:
        name_or_path: a name in `folders`, or a .jinja file (relative ones below `base_dir`).
        folders: where named layouts are, conf/dataset/templates; the first that has it counts.
    Raises:
        ConfigError: there is no such layout, or its text does not pass `check_template`.
    """
    if name_or_path.endswith(SUFFIX) or "/" in name_or_path:
        path = (base_dir or Path.cwd()) / expanded(name_or_path, "dataset.template")
    else:
        paths = [folder / f"{name_or_path}{SUFFIX}" for folder in folders]
        path = next((path for path in paths if path.is_file()), paths[-1])
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError("the layout is not UTF-8", where=str(path)) from error
    except OSError as error:
        raise _missing(name_or_path, path, folders, error) from error
    check_template(text, where=str(path))
    return text


def check_template(text: str, *, where: str = _KEY) -> None:
    """
    Refuse a layout that cannot work, without rendering it.

    Raises:
        ConfigError: a syntax error (with its line), or a variable that no row has.
    """
    from jinja2 import TemplateSyntaxError, meta

    try:
        tree = environment().parse(text)
        unknown = meta.find_undeclared_variables(tree) - {*VARIABLES, *environment().globals}
    except TemplateSyntaxError as error:
        raise ConfigError(
            f"syntax error in the layout: {error.message}",
            where=f"{where}:{error.lineno}",
            hint="Layouts are Jinja templates: {{ user_input }}, {% for line in history %}.",
        ) from error
    if unknown:
        name = min(unknown)
        near = difflib.get_close_matches(name, VARIABLES, n=1)
        raise ConfigError(
            f"unknown variable {name!r} in the layout",
            where=where,
            hint=f"Did you mean {near[0]}?" if near else f"Known: {', '.join(VARIABLES)}.",
        )


@lru_cache(maxsize=1)
def environment() -> SandboxedEnvironment:
    """Jinja for layouts: sandboxed, without files to include; unknown names are errors."""
    from jinja2 import DictLoader, StrictUndefined  # 0.1 s: only where layouts are used
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(
        loader=DictLoader({}), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def _missing(name: str, path: Path, folders: Sequence[Path], error: OSError) -> ConfigError:
    known = sorted({file.stem for folder in folders for file in folder.glob(f"*{SUFFIX}")})
    near = difflib.get_close_matches(name, known, n=1)
    meant = f"Did you mean {near[0]}? " if near else ""
    return ConfigError(
        f"no layout {name!r}: {path}: {error.strerror}",
        where=_KEY,
        hint=f"{meant}Layouts: {', '.join(known)}; or the path of a {SUFFIX} file of your own.",
    )
