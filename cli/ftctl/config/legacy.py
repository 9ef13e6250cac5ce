"""Keys of older configurations: what each means now, or what replaces it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ftctl.config import schema
from ftctl.config.problems import Problem, as_error, shown
from ftctl.config.sources import Sources

METHOD = "training.method"
_FLAGS = {"training.use_sft": "sft", "training.use_grpo": "grpo", "training.use_dpo": "dpo"}

# Older key to today's; some of the older ones are still in the models.
_RENAMED = {
    "training.training_method": METHOD,
    "other.cutoff_len": "training.max_seq_length",
    "model.train_steps": "training.max_steps",
    "testing.test_file": "testing.test_dataset",
}
# What stands for "not set" where two keys mean the same.
_UNSET: dict[str, tuple[Any, ...]] = {
    "training.max_steps": (None, -1),
    "model.train_steps": (None, -1, 0),
}
_ONE_METHOD = "Choose one: training.method=sft."

_NO_JUDGE = "Answers are scored without a judge model: see testing.test; leave it out."
# By the last part of the key: what replaces it.
_REPLACED = {
    "venv_python_path": "The stages run with the Python that runs ftctl; leave it out.",
    "prompt_for_deepeval": _NO_JUDGE,
    "deepeval_model": _NO_JUDGE,
    "load_in_4bit": "The base is always loaded as NF4, unless model.use_8bit is true.",
    "load_in_8bit": "Set model.use_8bit.",
    "bnb_4bit_compute_dtype": "Set model.torch_dtype.",
    "report_to": "Choose a tracker: tracking=wandb.",
    "wandb_project": "Set tracking.project.",
    "wandb_api_key": "Export WANDB_API_KEY; a key never stands in a configuration.",
    "max_length": "Set training.max_seq_length.",
    "max_prompt_length": "Set training.max_seq_length.",
    "convert_script": "The converter is found below paths.llama_cpp_dir; leave it out.",
    "adapter_path": "The adapter lies in the run's store: see storage.url; leave it out.",
}


@dataclass(frozen=True)
class Translated:
    """Values with today's keys only. `moved`: today's key to the older one it was taken from."""

    values: dict[str, Any]
    moved: Mapping[str, str]


def is_known(key: str) -> bool:
    """Whether `key` is an older one that is understood."""
    return key in _FLAGS or key in _RENAMED


def replaced(key: str) -> str | None:
    """What replaces an older key that has no meaning here, as a sentence; None if unknown."""
    return _REPLACED.get(key.rpartition(".")[2])


def translate(values: dict[str, Any], sources: Callable[[], Sources]) -> Translated:
    """
    Move the values of older keys to today's.

    Args:
        values: a composed configuration, resolved. It is changed.
        sources: called only where an older key is set: of two spellings the later layer wins.
    Raises:
        ConfigError: two spellings of one thing contradict each other in the same file.
    """
    values.pop("hydra", None)
    _spell_as_today(values)
    flags = {key: flag for key in _FLAGS if (flag := _take(values, key)) is not None}
    renamed = {key: value for key in _RENAMED if (value := _take(values, key)) not in _unset(key)}
    if not flags and not renamed:
        return Translated(values, {})
    translation = _Translation(values, sources())
    translation.choose_method(flags)
    for key, value in renamed.items():
        translation.move(key, _RENAMED[key], value)
    if translation.problems:
        raise as_error(translation.problems)
    return Translated(values, translation.moved)


@dataclass(frozen=True)
class _Translation:
    values: dict[str, Any]
    sources: Sources
    moved: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def choose_method(self, flags: Mapping[str, Any]) -> None:
        """One of `use_sft`, `use_grpo`, ... may be true; it names the method."""
        wrong = {key: flag for key, flag in flags.items() if not isinstance(flag, bool)}
        for key, flag in wrong.items():
            self._problem(key, f"{key} is {shown(flag)}", "Write true or false.")
        on = [key for key, flag in flags.items() if flag is True]
        if len(on) > 1:
            self._problem(on[-1], f"{' and '.join(on)} are both true", _ONE_METHOD)
        elif on:
            self.move(on[0], METHOD, _FLAGS[on[0]])
        elif flags and not wrong and self._rank(METHOD) < max(map(self._rank, flags)):
            self._problem(next(iter(flags)), f"{' and '.join(flags)}: none is true", _ONE_METHOD)

    def move(self, old: str, new: str, value: Any) -> None:
        """Give `new` the value of `old`, unless a later layer sets `new`."""
        section, name = _parent(self.values, new)
        current = section.get(name)
        if self._rank(new) > self._rank(old):
            return
        if self._rank(new) == self._rank(old) and current not in (value, *_unset(new)):
            self._problem(
                old,
                f"{old} ({shown(value)}) and {new} ({shown(current)}) contradict each other",
                f"Keep {new} only.",
            )
            return
        section[name] = value
        self.moved[new] = old

    def _rank(self, key: str) -> int:
        return max((layer.rank for layer in self.sources.setting(key)), default=-1)

    def _problem(self, key: str, what: str, hint: str) -> None:
        self.problems.append(Problem(self.sources.origin(key), what, hint))


def _spell_as_today(values: dict[str, Any]) -> None:
    """The text `None` is null where null is allowed; `torch.float16` is float16."""
    for path, key in schema.keys().items():
        section, name = _parent(values, path)
        value = section.get(name)
        if value == "None" and "null" in key.allowed:
            section[name] = None
        elif path == "model.torch_dtype" and isinstance(value, str):
            section[name] = value.removeprefix("torch.")


def _unset(key: str) -> tuple[Any, ...]:
    return _UNSET.get(key, (None,))


def _parent(values: dict[str, Any], path: str) -> tuple[dict[str, Any], str]:
    section, _, name = path.rpartition(".")
    node: Any = values
    for part in section.split(".") if section else []:
        node = node.get(part) if isinstance(node, dict) else None
    return (node if isinstance(node, dict) else {}), name


def _take(values: dict[str, Any], path: str) -> Any:
    section, name = _parent(values, path)
    value = section.pop(name, None)
    if schema.find(path):
        section[name] = None
    return value
