"""Checks a composed configuration against the models, and against what this version can do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from ftctl.config import legacy, schema
from ftctl.config.nearest import nearest, nearest_key
from ftctl.config.overrides import explain_hint
from ftctl.config.problems import Problem, as_error, shown
from ftctl.config.sources import Sources
from ftctl.contract import qtypes
from ftctl.contract.spec import Config

Origin = Callable[[str], str | None]


def check(
    values: Mapping[str, Any], sources: Callable[[], Sources], moved: Mapping[str, str]
) -> Config:
    """
    Make a Config of plain values.

    Args:
        sources: called only if something is wrong, to name the file or override.
        moved: today's key to the older one that its value was taken from.
    Raises:
        ConfigError: all problems at once: where, key, value, what is allowed, nearest valid name.
    """
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        found = sources()

        def origin(key: str) -> str | None:
            return found.origin(moved.get(key, key))

        # Not `from error`: its text repeats values as they are.
        raise as_error(_problems(error, origin)) from None


def refuse_unavailable(config: Config) -> None:
    """
    Refuse values that this version accepts in a file and cannot act on: nothing is ignored.

    Raises:
        ConfigError: names each of them.
    """
    training, quantize, cluster = config.training, config.quantize, config.cluster
    wanted = {
        f"quantize.merge_base={quantize.merge_base} with model.use_8bit": (
            quantize.merge_base != "full" and config.model.use_8bit
        ),
        # Every process would generate answers of its own length, and wait for layers of others.
        "cluster.shard with training.method=grpo": cluster.splits and training.method == "grpo",
        "cluster.shard with model.use_8bit": cluster.splits and config.model.use_8bit,
        # Its KL is taken from the answers that go through the model together: others elsewhere.
        "training.method=kto on several devices": (
            cluster.processes > 1 and training.method == "kto"
        ),
        f"training.group_by_length with training.method={training.method} on several devices": (
            cluster.processes > 1 and training.group_by_length and training.method != "sft"
        ),
    }
    problems = [
        Problem(None, f"{setting} is not available in this version", "Leave it at its default.")
        for setting, is_set in wanted.items()
        if is_set
    ]
    if quantize.adapter_gguf and config.model.modules_to_save:
        whole = ", ".join(config.model.modules_to_save)
        problems.append(
            Problem(
                None,
                f"quantize.adapter_gguf=true holds LoRA alone, and {whole} is trained whole",
                "Set model.modules_to_save=[], or leave quantize.adapter_gguf at its default.",
            )
        )
    problems += [
        Problem(
            None,
            f"model.qtype={qtype} needs an importance matrix",
            "Set quantize.imatrix=true, or choose a type of more bits: q4_k_m, iq4_xs.",
        )
        for qtype in config.model.qtypes
        if qtype in qtypes.NEED_IMATRIX and not quantize.imatrix
    ]
    if problems:
        raise as_error(problems)


def _problems(error: ValidationError, origin: Origin) -> list[Problem]:
    """One problem a key: a union reports each of its members."""
    by_key: dict[str, list[Any]] = {}
    for detail in error.errors(include_url=False):
        by_key.setdefault(_key(detail), []).append(detail)
    return [_problem(key, details, origin) for key, details in by_key.items()]


def _key(detail: Any) -> str:
    """The dotted path of an error, without the union members pydantic puts into it."""
    parts: list[str] = []
    for part in detail["loc"]:
        path = ".".join([*parts, str(part)])
        found = schema.find(path)
        if detail["type"] == "extra_forbidden" or (found and (found.path == path or found.is_open)):
            parts.append(str(part))
        else:
            break
    return ".".join(parts)


def _problem(key: str, details: list[Any], origin: Origin) -> Problem:
    detail = details[0]
    where = origin(key)
    if detail["type"] == "extra_forbidden":
        return _unknown_key(key, where)
    value_errors = [each for each in details if each["type"] == "value_error"]
    if value_errors:
        text = str(value_errors[0]["ctx"]["error"])
        if key == "model.qtype":
            return Problem(where, f"{key}: {text}", _nearest_qtype(value_errors[0]["input"]))
        return Problem(where, f"{key}: {text}" if key else text)
    if detail["type"] == "missing":
        return Problem(where, f"{key} has no value", f"Set it: {key}=VALUE.")
    allowed = _allowed(key, detail)
    return Problem(where, f"{key} is {shown(detail['input'])}; allowed: {allowed}")


def _allowed(key: str, detail: Any) -> str:
    found = schema.keys().get(key)
    if found:
        return found.allowed
    message: str = detail["msg"]
    return message[0].lower() + message[1:]


def _unknown_key(key: str, where: str | None) -> Problem:
    reason = legacy.replaced(key)
    if reason:
        return Problem(where, f"{key} has no meaning here", reason)
    if key == "experiment":
        return Problem(
            where,
            "an experiment's keys belong at the top level",
            "Write `# @package _global_` on the first line of its file.",
        )
    close = nearest_key(key, schema.keys())
    hint = f"Did you mean {close}? " if close else ""
    return Problem(where, f"there is no key {key}", hint + explain_hint(key))


def _nearest_qtype(value: Any) -> str | None:
    names = [value] if isinstance(value, str) else value
    unknown = [name for name in names if qtypes.canonical(name) not in qtypes.FTYPES]
    close = nearest(unknown[0], [*qtypes.FTYPES, *qtypes.ALIASES]) if unknown else None
    return f"Did you mean {close}?" if close else None
