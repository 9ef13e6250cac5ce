"""Collecting from, and finding runs in, a real folder store."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from ftctl.contract.layout import RunLayout
from ftctl.errors import StorageError, UsageError
from ftctl.report.collect import collect, collect_status
from ftctl.report.html import render_report
from ftctl.report.record import PublishedFile, RunRecord, Tombstones
from ftctl.storage.find import find_run
from ftctl.storage.folder import FolderStore
from tests import report_records as made
from tests.report_stores import LAYOUT, put_index, put_run


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def test_a_whole_run_is_read_back(store: FolderStore) -> None:
    put_run(store)
    read = collect(store, made.RUN_ID)
    assert replace(read, collected=made.record().collected) == made.record()


def test_a_run_without_anything_is_empty_and_has_a_page(store: FolderStore) -> None:
    read = collect(store, made.RUN_ID)
    assert read == RunRecord(run_id=made.RUN_ID, collected=read.collected)
    assert "No stage has started yet." in render_report(read)


@pytest.mark.parametrize(
    ("key", "content", "problem"),
    [
        pytest.param(
            LAYOUT.status,
            b'{"run_id": "quick',
            "status.json: Invalid JSON: EOF while parsing a string at line 1 column 17",
            id="torn-json",
        ),
        pytest.param(
            LAYOUT.evaluation,
            b'{"before": {"rows": "many"}}',
            "eval.json: before.rows: Input should be a valid integer, "
            "unable to parse string as an integer",
            id="wrong-type",
        ),
        pytest.param(
            LAYOUT.verification, b"\xff\xfe{}", "verify.json: not UTF-8 at byte 0", id="not-utf-8"
        ),
        pytest.param(
            LAYOUT.manifest,
            b"",
            "manifest.json: Invalid JSON: EOF while parsing a value at line 1 column 0",
            id="empty",
        ),
        pytest.param(
            LAYOUT.config,
            b"run_id: [",
            "config.yaml: not YAML: while parsing a flow node"
            " expected the node content, but found '<stream end>'"
            ' in "<unicode string>", line 1, column 10: run_id: [ ^',
            id="torn-yaml",
        ),
        pytest.param(
            LAYOUT.config,
            b"run_id: x\ncontent_hash: y\nmodel: 1\n",
            "config.yaml: model: Input should be a valid dictionary or instance of ModelSource",
            id="yaml-of-another-shape",
        ),
    ],
)
def test_a_damaged_file_is_a_problem_and_the_rest_is_read(
    store: FolderStore, key: str, content: bytes, problem: str
) -> None:
    put_run(store)
    store.write(key, content)
    read = collect(store, made.RUN_ID)
    assert read.problems == (problem,)
    assert read.metrics == made.metrics()
    assert problem.split(":")[0] in render_report(read)


def test_a_torn_last_line_is_left_out_and_told(store: FolderStore) -> None:
    lines = "".join(line.model_dump_json() + "\n" for line in made.metrics())
    store.write(LAYOUT.metrics, (lines + '{"step": 95, "ep').encode())
    read = collect(store, made.RUN_ID)
    assert read.metrics == made.metrics()
    assert read.problems == (
        f"metrics.jsonl: line {len(made.metrics()) + 1} cannot be read and is left out",
    )


def test_several_bad_lines_are_one_problem(store: FolderStore) -> None:
    store.write(LAYOUT.events, b"a\n\nb\n" + made.events()[0].model_dump_json().encode())
    read = collect(store, made.RUN_ID)
    assert read.events == made.events()[:1]
    assert read.problems == ("events.jsonl: 2 lines, the first 1, cannot be read and is left out",)


class Refusing(FolderStore):
    """A store that lists eval.json and refuses to give it, as a bucket policy can."""

    def read(self, key: str) -> bytes:
        if key == LAYOUT.evaluation:
            raise StorageError("access denied", where=f"{self.url}/{key}")
        return super().read(key)


def test_an_object_that_is_refused_is_a_problem(tmp_path: Path) -> None:
    store = Refusing(tmp_path / "store")
    put_run(store)
    read = collect(store, made.RUN_ID)
    assert read.problems == ("eval.json: access denied",)
    assert read.evaluation is None
    assert read.verification == made.verification()


def test_unknown_fields_of_a_newer_version_are_ignored(store: FolderStore) -> None:
    newer = {**made.status().model_dump(mode="json"), "temperature_c": 61}
    store.write(LAYOUT.status, json.dumps(newer).encode())
    read = collect(store, made.RUN_ID)
    assert read.status == made.status()
    assert read.problems == ()


def test_the_status_is_read_alone(store: FolderStore) -> None:
    put_run(store)
    store.write(LAYOUT.success, b"{}")
    read = collect_status(store, made.RUN_ID)
    assert read == RunRecord(
        run_id=made.RUN_ID,
        collected=read.collected,
        status=made.status(),
        events=made.events(),
        tombstones=Tombstones(success=True),
    )


def test_published_files_are_listed_without_their_marker(store: FolderStore) -> None:
    store.write(f"{LAYOUT.gguf}a.gguf", b"12345")
    store.write(f"{LAYOUT.gguf}_COMPLETE", b"{}")
    assert collect(store, made.RUN_ID).gguf == (PublishedFile("a.gguf", 5),)


IDS = ["bot-0123456789ab", "bot-0123456789cd", "support-bot-4f2a91c7d03e"]


@pytest.fixture
def indexed(store: FolderStore) -> FolderStore:
    for hours, run_id in enumerate(IDS):
        put_index(store, run_id, hours)
    return store


@pytest.mark.parametrize(
    ("text", "run_id"),
    [
        pytest.param("support-bot-4f2a91c7d03e", IDS[2], id="whole"),
        pytest.param("s", IDS[2], id="one-letter"),
        pytest.param("bot-0123456789a", IDS[0], id="long-enough"),
    ],
)
def test_a_run_is_found_by_the_beginning_of_its_id(
    indexed: FolderStore, text: str, run_id: str
) -> None:
    assert find_run(indexed, text) == run_id


def test_a_run_whose_index_record_is_gone_is_found_by_its_whole_id(store: FolderStore) -> None:
    store.write(RunLayout(IDS[0]).config, b"{}")
    assert find_run(store, IDS[0]) == IDS[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "bot-",
            "'bot-' may be any of 2 runs: bot-0123456789cd, bot-0123456789ab",
            id="ambiguous",
        ),
        pytest.param(
            "suport-bot-4f2a",
            "no run 'suport-bot-4f2a'; near it: support-bot-4f2a91c7d03e",
            id="mistyped",
        ),
        pytest.param(
            "zzz",
            "no run 'zzz'; the newest: support-bot-4f2a91c7d03e, bot-0123456789cd, "
            "bot-0123456789ab",
            id="unknown",
        ),
        pytest.param(
            "",
            "no run ''; the newest: support-bot-4f2a91c7d03e, bot-0123456789cd, bot-0123456789ab",
            id="empty",
        ),
    ],
)
def test_what_names_no_one_run_is_refused_with_candidates(
    indexed: FolderStore, text: str, message: str
) -> None:
    with pytest.raises(UsageError) as refused:
        find_run(indexed, text)
    assert refused.value.what == message
    assert refused.value.where == indexed.url


def test_an_empty_store_says_so(store: FolderStore) -> None:
    with pytest.raises(UsageError, match="no run 'a': there are no runs in this store"):
        find_run(store, "a")


def test_the_run_file_is_read_as_yaml(store: FolderStore) -> None:
    text = yaml.safe_dump(made.run_file().model_dump(mode="json"), allow_unicode=True)
    store.write(LAYOUT.config, text.encode())
    assert collect(store, made.RUN_ID).run == made.run_file()
