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
    except (HydraException, ValueError, OSError) as error:
        _blame_a_file(tree)
        cause = error.__cause__
        if isinstance(cause, OmegaConfBaseException):
            raise _value_error(cause, sources) from error
        raise ConfigError(redact(_one_line(str(error)))) from error


def _missing_config(error: Exception, tree: Tree) -> ConfigError:
    """A defaults list names a group or a choice that is not there."""
    wanted = str(getattr(error, "missing_cfg_file", None) or "")
    group, _, choice = wanted.rpartition("/")
    groups = tree.groups()
    found = re.match(r"In '([^']+)'", str(error))
    file = tree.file(found[1]) if found else tree.main
    where = shown_path(file) if file else None
    if not group or group not in groups:
        close = nearest(group or choice, groups)
        hint = f"Did you mean {close}? " if close else ""
        return ConfigError(
            f"its defaults list names {wanted}, and there is no group {group or choice}",
            where=where,
            hint=f"{hint}Groups: {', '.join(groups)}.",
        )
    close = nearest(choice, groups[group])
    hint = f"Did you mean {close}? " if close else ""
    return ConfigError(
        f"its defaults list names {wanted}, and group {group} has no choice {choice!r}",
        where=where,
        hint=f"{hint}Choices: {', '.join(groups[group])}.",
    )


def _value_error(error: Exception, sources: Callable[[], Sources]) -> ConfigError:
    from omegaconf.errors import InterpolationResolutionError, MissingMandatoryValue

    key = getattr(error, "full_key", None) or ""
    origin = sources().origin(key) if key else None
    if isinstance(error, MissingMandatoryValue):
        return ConfigError(
            f"{key} has no value", where=origin, hint=f"Set it: {key}=VALUE on the command line."
        )
    message = redact(_one_line(str(getattr(error, "msg", None) or error)))
    if isinstance(error, InterpolationResolutionError):
        return ConfigError(
            f"{key} cannot be filled in: {message}",
            where=origin,
            hint="Set what `${...}` names, or give a default: ${oc.env:NAME,default}.",
        )
    return ConfigError(f"{key}: {message}" if key else message, where=origin)


def _blame_a_file(tree: Tree) -> None:
    """Raise the exact error of the first file that cannot be read, if there is one."""
    files = [path for choices in tree.groups().values() for path in choices.values()]
    for path in [*([tree.main] if tree.main else []), *files]:
        read_yaml(path)


def _one_line(text: str) -> str:
    return " ".join(text.split())
