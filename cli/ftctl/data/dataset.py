"""Loads the data set that a configuration names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ftctl.contract.lineage import DatasetRecord
from ftctl.contract.spec import Config
from ftctl.data.demands import refuse_unfit
from ftctl.data.digest import dataset_record, pull_record, pull_split
from ftctl.data.example import Example
from ftctl.data.holdout import hold_out
from ftctl.data.locate import Places, find_sources
from ftctl.data.objects import ObjectStore, OpenStore
from ftctl.data.problems import Problem, listing, refuse_above
from ftctl.data.rows import FileRows, read_examples
from ftctl.data.single import single_answers
from ftctl.data.wanted import Wanted, wanted_files
from ftctl.errors import ConfigError, DataError

PUSHED = "sha256:"
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class FileSummary:
    """What was read from one file."""

    split: str
    file: str
    format: str
    rows: int
    bad: int


@dataclass
class Dataset:
    """The rows of a run. `problems` are bad rows that were left out, within dataset.max_bad."""

    train: list[Example] = field(default_factory=list)
    eval: list[Example] = field(default_factory=list)
    test: list[Example] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    files: list[FileSummary] = field(default_factory=list)

    @property
    def splits(self) -> dict[str, list[Example]]:
        """The splits that have rows."""
        every = {"train": self.train, "eval": self.eval, "test": self.test}
        return {name: rows for name, rows in every.items() if rows}

    @property
    def sources(self) -> list[str]:
        """Names of the files, each once."""
        return list(dict.fromkeys(file.file for file in self.files))

    def record(self) -> DatasetRecord:
        """The data set's digests and counts."""
        return dataset_record(self)


def load_dataset(
    config: Config,
    *,
    base_dir: Path,
    store: ObjectStore | None = None,
    open_store: OpenStore | None = None,
) -> Dataset:
    """
    Read, check and split the rows of a configuration.

    Args:
        base_dir: where relative names are looked for first; then in paths.data_dir below it.
        store: the run's store, for `sha256:DIGEST`.
        open_store: opens the store of an s3:// URL (ftctl.storage.open.open_store).
    Raises:
        ConfigError: no data set is named, or one that needs a store without one.
        DataError: files that cannot be read (all of them named), more bad rows than
            dataset.max_bad (the first ones named), no rows, or rows of another method.
    """
    loader = _Loader(config, base_dir, store, open_store)
    dataset = loader.dataset
    train, eval_, test = wanted_files(config)
    dataset.train = loader.split("train", train)
    dataset.eval = loader.split("eval", eval_ if eval_.files else _along(train, store, "eval"))
    dataset.test = loader.split("test", test if test.files else _along(train, store, "test"))
    loader.finish()
    if config.dataset.limit:
        dataset.train = dataset.train[: config.dataset.limit]
    if not dataset.eval and config.dataset.eval_fraction:
        dataset.train, dataset.eval = hold_out(
            dataset.train, config.dataset.eval_fraction, config.training.seed
        )
    refuse_unfit(dataset.splits, config.training.method)
    if config.training.method == "kto":
        dataset.train, dataset.eval = single_answers(dataset.train), single_answers(dataset.eval)
    return dataset


class _Loader:
    """Reads split after split, and keeps what went wrong until all are read."""

    def __init__(
        self,
        config: Config,
        base_dir: Path,
        store: ObjectStore | None,
        open_store: OpenStore | None,
    ) -> None:
        folders = (base_dir, base_dir / config.paths.data_dir)
        self.dataset = Dataset()
        self._config, self._store = config, store
        self._places = Places(folders, config.storage, open_store)
        self._failures: list[DataError] = []

    def split(self, name: str, wanted: Wanted) -> list[Example]:
        """The rows of one split. Ids that several files use get the file's stem before them."""
        rows: list[Example] = []
        taken: set[str] = set()
        for part in wanted.files:
            if part.startswith(PUSHED):
                found = [self._pushed(part, name, wanted.key)]
            else:
                found = self._files(part, name, wanted.key)
            for file in found:
                rows.extend(_renamed(file, taken))
        return [_with_actions(row, self._config.dataset.always_allowed_actions) for row in rows]

    def finish(self) -> None:
        """Raise what went wrong, all at once."""
        if len(self._failures) == 1:
            raise self._failures[0]
        if self._failures:
            raise DataError(
                f"{len(self._failures)} data files cannot be read\n{listing(self._failures)}"
            )
        refuse_above(self.dataset.problems, self._config.dataset.max_bad)
        read = {file.split for file in self.dataset.files}
        for name in ("train", "eval", "test"):
            if name in read and name not in self.dataset.splits:
                bad = sum(file.bad for file in self.dataset.files if file.split == name)
                raise DataError(f"the {name} split is empty: all {bad} rows are bad")

    def _files(self, part: str, split: str, key: str) -> list[FileRows]:
        found = []
        try:
            sources = find_sources([part], self._places, key=key)
        except DataError as error:
            self._failures.append(error)
            return []
        for source in sources:
            try:
                file = read_examples(source, self._config.dataset.format)
            except DataError as error:
                self._failures.append(error)
                continue
            found.append(file)
            self._note(file, split)
        return found

    def _pushed(self, part: str, split: str, key: str) -> FileRows:
        digest = part.removeprefix(PUSHED)
        if not _DIGEST.fullmatch(digest):
            raise ConfigError(
                f"{part!r} is no digest", where=key, hint="It has 64 hexadecimal digits."
            )
        if self._store is None:
            raise ConfigError(
                f"{part!r} needs a store", where=key, hint="Name it with storage.url=..."
            )
        file = FileRows(part, digest, "canonical", pull_split(self._store, digest, split), [])
        self._note(file, split)
        return file

    def _note(self, file: FileRows, split: str) -> None:
        self.dataset.problems.extend(file.problems)
        self.dataset.files.append(
            FileSummary(split, file.name, file.format, len(file.examples), len(file.problems))
        )


def _along(train: Wanted, store: ObjectStore | None, split: str) -> Wanted:
    """The one pushed data set that the training rows come from, if it has this split too."""
    nothing = Wanted(train.key, [])
    if store is None or len(train.files) != 1 or not train.files[0].startswith(PUSHED):
        return nothing
    record = pull_record(store, train.files[0].removeprefix(PUSHED))
    return train if split in record.splits else nothing


def _renamed(file: FileRows, taken: set[str]) -> list[Example]:
    rows = []
    for row in file.examples:
        new, number = row.id, 1
        while new in taken:
            new = f"{file.stem}/{row.id}" if number == 1 else f"{file.stem}/{row.id}~{number}"
            number += 1
        taken.add(new)
        rows.append(row if new == row.id else row.model_copy(update={"id": new}))
    return rows


def _with_actions(row: Example, always: Sequence[str]) -> Example:
    if row.prompt is None or not always:
        return row
    actions = list(dict.fromkeys([*row.prompt.actions, *always]))
    prompt = row.prompt.model_copy(update={"actions": actions})
    return row.model_copy(update={"prompt": prompt})
