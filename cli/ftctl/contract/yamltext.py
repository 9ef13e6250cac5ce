"""YAML as people read it and every parser understands it alike."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

# YAML 1.2 and Go's parser read more texts as numbers than PyYAML, which would leave `1e3` bare.
_MAY_BE_A_NUMBER = tuple("0123456789+-.")


def yaml_text(value: Any) -> str:
    """One document: keys in their order, no aliases, texts of several lines as blocks."""
    return yaml_documents([value], explicit_start=False)


def yaml_documents(values: Iterable[Any], *, explicit_start: bool = True) -> str:
    """A stream of documents."""
    import yaml

    text: str = yaml.dump_all(
        values,
        Dumper=_dumper(),
        sort_keys=False,
        allow_unicode=True,
        explicit_start=explicit_start,
        width=100,
    )
    return text


@cache
def _dumper() -> type[Any]:
    import yaml

    # The same in C takes a tenth of the time; not every build of PyYAML has it.
    base: type[Any] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

    class Dumper(base):  # type: ignore[misc]
        """Writes plain values."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

        def represent_text(self, text: str) -> Any:
            style = "|" if "\n" in text else '"' if text.startswith(_MAY_BE_A_NUMBER) else None
            return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    Dumper.add_representer(str, Dumper.represent_text)
    return Dumper
