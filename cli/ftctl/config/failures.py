"""Turns what Hydra, OmegaConf and YAML raise into one ConfigError, with file, key and advice."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ftctl.config.nearest import nearest
from ftctl.config.secret import redact
from ftctl.config.sources import Sources, read_yaml, shown_path, yaml_error
from ftctl.config.tree import Tree
from ftctl.errors import ConfigError


@contextmanager
def as_config_errors(tree: Tree, sources: Callable[[], Sources]) -> Iterator[None]:
    """
    Everything that composing can raise comes out as a ConfigError.

    Args:
        sources: where values come from; called only for an error that concerns a key.
    """
    import yaml
    from hydra.errors import HydraException, MissingConfigException
    from omegaconf.errors import OmegaConfBaseException

    try:
        yield
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise yaml_error(error, shown_path(Path(mark.name)) if mark else "a YAML file") from error
    except MissingConfigException as error:
        raise _missing_config(error, tree) from error
    except OmegaConfBaseException as error:
        raise _value_error(error, sources) from error
    except HydraException as error:
        cause = error.__cause__
        if isinstance(cause, OmegaConfBaseException):
            raise _value_error(cause, sources) from error
        raise _file_error(error, tree) from error
    except UnicodeDecodeError as error:
        for path in _files(tree):
            read_yaml(path)
        raise ConfigError("a configuration file is not UTF-8 text") from error
    except (ValueError, OSError) as error:
        raise _file_error(error, tree) from error


def _missing_config(error: Exception, tree: Tree) -> ConfigError:
    """A defaults list names a group or a choice that is not there."""
    wanted = str(getattr(error, "missing_cfg_file", None) or "")
    group, _, choice = wanted.rpartition("/")
    groups = tree.groups()
    file = next((path for path in _files(tree) if _names(path, group, choice)), None)
    if group in groups:
        what, noun, name, known = (
            f"group {group} has no choice {choice!r}",
            "Choices",
            choice,
            list(groups[group]),
        )
    else:
        name, known = group or choice, list(groups)
        what, noun = f"there is no group {name}", "Groups"
    close = nearest(name, known)
    return ConfigError(
        f"the defaults list names {wanted}, and {what}",
        where=shown_path(file) if file else None,
        hint=(f"Did you mean {close}? " if close else "") + f"{noun}: {', '.join(known)}.",
    )


def _names(path: Path, group: str, choice: str) -> bool:
    """Whether the defaults list of a file names this choice."""
    defaults = read_yaml(path).get("defaults")
    for entry in defaults if isinstance(defaults, list) else []:
        for key, value in entry.items() if isinstance(entry, dict) else [(group, entry)]:
            if str(key).split()[-1].strip("/") == group and value == choice:
                return True
    return False


def _value_error(error: Exception, sources: Callable[[], Sources]) -> ConfigError:
    from omegaconf.errors import InterpolationResolutionError, MissingMandatoryValue

    key = getattr(error, "full_key", None) or ""
    origin = sources().origin(key) if key else None
    if isinstance(error, MissingMandatoryValue):
        return ConfigError(
            f"{key} has no value", where=origin, hint=f"Set it: {key}=VALUE on the command line."
        )
    message = redact(str(getattr(error, "msg", None) or error).splitlines()[0])
    variable = re.search(r"Environment variable '(\w+)' not found", message)
    if variable:
        return ConfigError(
            f"{key} needs the environment variable {variable[1]}, which is not set",
            where=origin,
            hint=f"Export {variable[1]}, or set the key: {key}=VALUE.",
        )
    if isinstance(error, InterpolationResolutionError):
        return ConfigError(
            f"{key} cannot be filled in: {message}",
            where=origin,
            hint="Set what `${...}` names.",
        )
    return ConfigError(f"{key}: {message}" if key else message, where=origin)


def _file_error(error: Exception, tree: Tree) -> ConfigError:
    """What Hydra says of a file; what we find wrong with it comes first."""
    named = re.search(r"in '([^']+)'", str(error), re.IGNORECASE)
    path = tree.file(named[1]) if named else None
    if path:
        read_yaml(path)
    return ConfigError(redact(_one_line(str(error))), where=shown_path(path) if path else None)


def _files(tree: Tree) -> list[Path]:
    choices = [path for files in tree.groups().values() for path in files.values()]
    return [*([tree.main] if tree.main else []), *choices]


def _one_line(text: str) -> str:
    return " ".join(text.split())
