"""The model card that goes with pushed files: README.md, as model hubs read it."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from ftctl.contract.runfile import ModelSource
from ftctl.contract.verification import OutputVerification
from ftctl.report.figures import number, percent, size
from ftctl.report.record import RunRecord
from ftctl.report.table import outcome_text

CARD = "README.md"
_HEAD = ("type", "files", "size", "mean KL", "p99 KL", "top-1", "perplexity")


def model_card(record: RunRecord, *, licence: str | None) -> str:
    """
    What the files are, where they come from and how well they do. Pure.

    Args:
        record: a published run.
        licence: of the base model; None where it is not known.
    """
    import yaml  # 30 ms that no other command needs

    assert record.run is not None
    assert record.manifest is not None
    model = record.run.model
    front = yaml.safe_dump(_front(model, licence), sort_keys=False, allow_unicode=True)
    name = record.run_id.rpartition("-")[0]
    parts = [
        f"---\n{front}---",
        f"# {name}",
        f"{base_name(model)}, fine-tuned ({record.manifest.method}, LoRA) and exported to GGUF. "
        "Each file was run by llama.cpp and compared with the fine-tuned model, token by token, "
        "before it was published.",
        "## Files\n\n" + _files(record),
        "## Results on held-out rows\n\n```\n"
        + outcome_text(record.evaluation, record.verification)
        + "\n```",
        "## Where it comes from\n\n" + _origin(record, licence),
    ]
    return "\n\n".join(parts) + "\n"


def base_name(model: ModelSource) -> str:
    """The base as others may know it: of a path its last part alone."""
    return model.name if model.kind == "hub" else PurePath(model.name).name


def _front(model: ModelSource, licence: str | None) -> dict[str, Any]:
    """https://huggingface.co/docs/hub/model-cards#model-card-metadata."""
    front: dict[str, Any] = {}
    if licence:
        front["license"] = licence
    if model.kind == "hub":
        front |= {"base_model": model.name, "base_model_relation": "finetune"}
    return front | {"pipeline_tag": "text-generation", "tags": ["gguf", "lora", "ftctl"]}


def _files(record: RunRecord) -> str:
    outputs = record.verification.outputs if record.verification else []
    sizes = {file.name: file.size for file in record.gguf}
    rows = [_HEAD, tuple("---" for _ in _HEAD), *(_row(output, sizes) for output in outputs)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return (
        f"{table}\n\nKL divergence from the fine-tuned model in nats a token, share of equal most "
        "likely tokens, and growth of the perplexity. `sha256sum -c SHA256SUMS` checks the files; "
        "`ollama create NAME -f Modelfile` makes a model of the first."
    )


def _row(output: OutputVerification, sizes: dict[str, int]) -> tuple[str, ...]:
    return (
        output.qtype.upper(),
        ", ".join(f"`{name}`" for name in output.files),
        size(sum(sizes.get(name, 0) for name in output.files)),
        number(output.mean_kl),
        number(output.p99_kl),
        percent(output.top1_agreement),
        f"x{output.perplexity_ratio:.3f}",
    )


def _origin(record: RunRecord, licence: str | None) -> str:
    assert record.run is not None
    assert record.manifest is not None
    data = record.manifest.dataset
    rows = ", ".join(f"{count} {split}" for split, count in data.rows.items())
    facts = {
        "base model": f"{base_name(record.run.model)} at `{record.run.model.revision}`",
        "licence of the base": licence or "not known here; see the base model",
        "data": f"sha256 `{data.digest}` ({rows} rows)",
        "run": f"`{record.run_id}`, content hash `{record.manifest.content_hash}`",
    }
    return "\n".join(f"- {name}: {fact}" for name, fact in facts.items())
