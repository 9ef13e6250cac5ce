"""Reads what a run has in its store, as far as it got."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from ftctl.contract.evaluation import Evaluation
from ftctl.contract.layout import COMPLETE, RunLayout
from ftctl.contract.lineage import Manifest
from ftctl.contract.runfile import RunFile
from ftctl.contract.status import Event, Metrics, Status, now
from ftctl.contract.verification import Verification
from ftctl.errors import StorageError
from ftctl.report.record import PublishedFile, RunRecord, Tombstones

Model = TypeVar("Model", bound=BaseModel)


class Listed(Protocol):
    """An object in a listing."""

    @property
    def key(self) -> str: ...

    @property
    def size(self) -> int: ...


class Source(Protocol):
    """The part of a store that a report reads; every ftctl.storage.base.Store is one."""

    def read(self, key: str) -> bytes:
        """Return an object."""

    def stat(self, key: str) -> Listed | None:
        """Describe an object, or return None."""

    def list(self, prefix: str = "", *, limit: int | None = None) -> Iterator[Listed]:
        """Yield objects whose key starts with `prefix`."""


def collect(store: Source, run_id: str) -> RunRecord:
    """
    Read everything a run has in the store; what is not there yet is left empty.

    A file that is torn, unreadable or not ours becomes a sentence in `problems`.

    Raises:
        StorageError: the run's folder cannot be listed.
    """
    layout = RunLayout(run_id)
    reader = _Reader(store, {item.key: item.size for item in store.list(layout.root)}, layout.root)
    return RunRecord(
        run_id=run_id,
        collected=now(),
        run=reader.yaml(layout.config, RunFile),
        status=reader.json(layout.status, Status),
        metrics=reader.lines(layout.metrics, Metrics),
        events=reader.lines(layout.events, Event),
        evaluation=reader.json(layout.evaluation, Evaluation),
        verification=reader.json(layout.verification, Verification),
        manifest=reader.json(layout.manifest, Manifest),
        gguf=tuple(reader.below(layout.gguf)),
        tombstones=Tombstones(
            success=layout.success in reader.sizes,
            failed=layout.failed in reader.sizes,
            cancelled=layout.cancelled in reader.sizes,
        ),
        problems=tuple(reader.problems),
    )


def collect_status(store: Source, run_id: str) -> RunRecord:
    """
    Read only what says where a run is, cheap enough to repeat: status, events, tombstones.

    Raises:
        StorageError: the store cannot be reached.
    """
    layout = RunLayout(run_id)
    return _collect_some(store, run_id, (layout.status, layout.events))


def collect_results(store: Source, run_id: str) -> RunRecord:
    """
    Read only what says where a run is and how good it is: status, metrics, scores, tombstones.

    Raises:
        StorageError: the store cannot be reached.
    """
    layout = RunLayout(run_id)
    return _collect_some(store, run_id, (layout.status, layout.metrics, layout.evaluation))


def _collect_some(store: Source, run_id: str, wanted: Sequence[str]) -> RunRecord:
    layout = RunLayout(run_id)
    # No listing: a run's folder may hold thousands of checkpoint files.
    keys = (*wanted, layout.success, layout.failed, layout.cancelled)
    found = {key: item.size for key in keys if (item := store.stat(key)) is not None}
    reader = _Reader(store, found, layout.root)
    return RunRecord(
        run_id=run_id,
        collected=now(),
        status=reader.json(layout.status, Status),
        metrics=reader.lines(layout.metrics, Metrics),
        events=reader.lines(layout.events, Event),
        evaluation=reader.json(layout.evaluation, Evaluation),
        tombstones=Tombstones(
            success=layout.success in found,
            failed=layout.failed in found,
            cancelled=layout.cancelled in found,
        ),
        problems=tuple(reader.problems),
    )


class _Reader:
    """Parses the objects that a listing showed, and keeps what went wrong."""

    def __init__(self, store: Source, sizes: dict[str, int], root: str) -> None:
        self.sizes = sizes
        self.problems: list[str] = []
        self._store = store
        self._root = root

    def json(self, key: str, model: type[Model]) -> Model | None:
        return self._parse(key, model.model_validate_json)

    def yaml(self, key: str, model: type[Model]) -> Model | None:
        return self._parse(key, lambda text: model.model_validate(_yaml(text)))

    def lines(self, key: str, model: type[Model]) -> tuple[Model, ...]:
        """Parse a file of one JSON object a line, leaving out the lines that are none."""
        text = self._text(key)
        parsed = []
        bad = []
        for number, line in enumerate((text or "").splitlines(), start=1):
            if not line.strip():
                continue
            try:
                parsed.append(model.model_validate_json(line))
            except ValidationError:
                bad.append(number)
        if bad:
            which = f"line {bad[0]}" if len(bad) == 1 else f"{len(bad)} lines, the first {bad[0]},"
            self._problem(key, f"{which} cannot be read and is left out")
        return tuple(parsed)

    def below(self, prefix: str) -> Iterator[PublishedFile]:
        for key, size in self.sizes.items():
            name = key.removeprefix(prefix)
            if key.startswith(prefix) and name != COMPLETE:
                yield PublishedFile(name, size)

    def _parse(self, key: str, parse: Callable[[str], Model]) -> Model | None:
        text = self._text(key)
        if text is None:
            return None
        try:
            return parse(text)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            self._problem(key, f"{place}: {first['msg']}" if place else first["msg"])
        except _YamlError as error:
            self._problem(key, str(error))
        return None

    def _text(self, key: str) -> str | None:
        if key not in self.sizes:
            return None
        try:
            return self._store.read(key).decode()
        except StorageError as error:
            self._problem(key, error.what)
        except UnicodeDecodeError as error:
            self._problem(key, f"not UTF-8 at byte {error.start}")
        return None

    def _problem(self, key: str, what: str) -> None:
        self.problems.append(f"{key.removeprefix(self._root)}: {what}")


class _YamlError(Exception):
    """Text that is no YAML; the message is one line."""


def _yaml(text: str) -> Any:
    import yaml  # 30 ms that no other command needs

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise _YamlError("not YAML: " + " ".join(str(error).split())) from error
