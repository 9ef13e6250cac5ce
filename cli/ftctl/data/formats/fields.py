"""Takes the fields of one row, and keeps every complaint instead of stopping at the first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftctl.data.json_text import JsonError, parse

_NONE_TEXT = "None"
_MISSING = object()


class Fields:
    """The fields of a row, or of an object inside it; `path` is put before their names."""

    def __init__(
        self, values: Mapping[str, Any], complaints: list[str] | None = None, path: str = ""
    ) -> None:
        self.values = values
        self.complaints: list[str] = [] if complaints is None else complaints
        self._path = path

    def complain(self, reason: str) -> None:
        """Note something that is wrong with the row."""
        self.complaints.append(reason)

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self.values.get(name) is not None

    def text(self, *names: str) -> str:
        """The first of `names` that is there, as a text that is not blank; complains otherwise."""
        name = self._first(names)
        value = self.values.get(name, _MISSING)
        if value is _MISSING or value is None:
            self.complain(f"no {self._path}{' or '.join(names)}")
        elif not isinstance(value, str):
            self._wrong_type(name, value, "a text")
        elif not value.strip():
            self.complain(f"{self._path}{name} is empty")
        else:
            return value
        return ""

    def optional_text(self, name: str) -> str | None:
        """A text, or None where the field is missing or blank; complains about other types."""
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            self._wrong_type(name, value, "a text")
            return None
        return value if value.strip() else None

    def texts(self, name: str) -> list[str]:
        """A list of texts; missing, null and the text "None" are the empty list."""
        value = structured(self.values.get(name))
        if value is None or value in (_NONE_TEXT, ""):
            return []
        if not isinstance(value, list):
            self._wrong_type(name, value, f'a list of texts or the text "{_NONE_TEXT}"')
            return []
        for index, item in enumerate(value):
            if not isinstance(item, str):
                self._wrong_type(f"{name}[{index}]", item, "a text")
        return [item for item in value if isinstance(item, str)]

    def mapping(self, name: str) -> Fields | None:
        """The fields of an object that is not empty; complains otherwise."""
        value = structured(self.values.get(name))
        if value is None or value == "":
            self.complain(f"no {self._path}{name}")
        elif not isinstance(value, dict):
            self._wrong_type(name, value, "an object")
        elif not value:
            self.complain(f"{self._path}{name} is empty")
        else:
            return Fields(value, self.complaints, f"{self._path}{name}.")
        return None

    def items(self, name: str) -> list[Any]:
        """A list that is not empty; complains otherwise."""
        value = structured(self.values.get(name))
        if value is None:
            self.complain(f"no {self._path}{name}")
        elif not isinstance(value, list):
            self._wrong_type(name, value, "a list")
        elif not value:
            self.complain(f"{self._path}{name} is empty")
        else:
            return value
        return []

    def _first(self, names: tuple[str, ...]) -> str:
        return next((name for name in names if self.has(name)), names[0])

    def _wrong_type(self, name: str, value: object, wanted: str) -> None:
        self.complain(f"{self._path}{name} is {kind(value)}, not {wanted}")


def structured(value: Any) -> Any:
    """A list or object that is given as JSON text, as in a CSV cell; anything else as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return parse(value)
        except JsonError:
            return value
    return value


def kind(value: object) -> str:
    """The JSON type of a value, with its article."""
    if value is None:
        return "null"
    names: dict[type, str] = {
        str: "a text",
        bool: "a truth value",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "an object",
    }
    return names.get(type(value), f"a {type(value).__name__}")
