"""The convert stage: adapter and reference in, proven GGUF files out."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ftctl.contract.evaluation import Evaluation
from ftctl.contract.lineage import FileRecord, Marker
from ftctl.contract.verification import Verification
from ftctl.data.digest import pull_split
from ftctl.data.example import Example
from ftctl.errors import VerificationError
from ftctl.report.collect import collect
from ftctl.report.html import render_report
from ftctl.storage.markers import download_folder
from ftctl_trainer.context import StageContext
from ftctl_trainer.data.template import PromptTemplate, prompt_messages
from ftctl_trainer.evaluation_file import answer_tokens, stored_evaluation
from ftctl_trainer.export.adapter import check_finite, read_adapter
from ftctl_trainer.export.adapter_gguf import check_adapter_tool
from ftctl_trainer.export.answers import answer_rows, with_quantized
from ftctl_trainer.export.base import check_base, rounded_base
from ftctl_trainer.export.chat_formats import recognize
from ftctl_trainer.export.gguf import export
from ftctl_trainer.export.inputs import Inputs
from ftctl_trainer.export.isolated import isolated
from ftctl_trainer.export.merge import merged_tensors
from ftctl_trainer.export.merge_base import (
    Candidate,
    MergeBase,
    better,
    reference_of,
    wanted_bases,
)
from ftctl_trainer.export.merged import upload_merged
from ftctl_trainer.export.plain_path import save_merged
from ftctl_trainer.export.publish import (
    Publisher,
    adapter_name,
    copy_out,
    gguf_names,
    write_checksums,
    write_companions,
)
from ftctl_trainer.export.reference import Reference
from ftctl_trainer.export.room import check_room
from ftctl_trainer.export.split import parts_of
from ftctl_trainer.export.tensor_types import check_types
from ftctl_trainer.export.tools import Tools, check_imatrix, find_tools
from ftctl_trainer.export.training_texts import training_texts
from ftctl_trainer.export.verify import limits_of, verification, verify_output
from ftctl_trainer.judgement import DIVERGED_HINT, what_training_did
from ftctl_trainer.model.source import streamed_model
from ftctl_trainer.push.push import check_places, push_published
from ftctl_trainer.stages.adapter import TYPE as ADAPTER_TYPE
from ftctl_trainer.stages.adapter import proven_adapter
from ftctl_trainer.stop import end_if_stopped

log = logging.getLogger(__name__)


def run_convert(ctx: StageContext) -> None:
    """
    Merge, quantize, prove, publish, and push to other places.

    Safe to repeat: killed at any line and started again, it ends the same.

    Raises:
        ConfigError: something is asked for that this version cannot do.
        RunFailedError: the adapter does not fit the base, or llama.cpp fails.
        VerificationError: what was exported is not what was trained; nothing is published.
        StorageError: another place did not take the published files.
        StoppedError: ctx.stop was set.
    """
    config = ctx.run.config
    if ctx.store.stat(ctx.layout.success) is not None:  # all but the push was done before
        push_published(ctx)
        return
    tools = find_tools(config.paths)
    weighed = config.quantize.imatrix
    check_types(config.model.qtypes, built_in=tools is None, weighed=weighed)
    if weighed:
        check_imatrix(tools)
    limits_of(config.model.qtypes, config.quantize.verify.thresholds)
    if config.quantize.adapter_gguf:
        check_adapter_tool(tools)
        limits_of((ADAPTER_TYPE,), config.quantize.verify.thresholds)
    check_places(config.publish)
    bases = wanted_bases(config)

    ctx.reporter.phase("fetching the adapter")
    markers = {
        name: download_folder(ctx.store, f"{ctx.layout.root}{name}/", ctx.workdir / name)
        for name in ("adapter", "reference")
    }
    references = {base: reference_of(base, ctx.workdir / "reference") for base in bases}
    ctx.reporter.phase("fetching the base model")
    storage = (config.storage, config.paths.output_dir)
    full = streamed_model(ctx.run.model, ctx.store, storage, ctx.workdir / "base")
    _check_inputs(ctx, full, copies=len(bases))

    found = better([_candidate(ctx, base, full, references[base], tools) for base in bases])
    if config.quantize.adapter_gguf and tools and found.proof.passed:
        found = _with_adapter(ctx, found, full, tools)
    ctx.lease.check()
    ctx.store.write(ctx.layout.verification, found.proof.model_dump_json(indent=2).encode())
    if not found.proof.passed:
        raise _not_proven(ctx, found.proof)
    _answer(ctx, found.files)
    _publish(ctx, found, references[found.base], markers)


def _check_inputs(ctx: StageContext, base: Path, *, copies: int) -> None:
    """Refuse an adapter that does not fit or has diverged, and a disk without room."""
    config, folder = ctx.run.config, ctx.workdir / "adapter"
    check_finite(read_adapter(folder), str(folder))
    also = [ADAPTER_TYPE] if config.quantize.adapter_gguf else []
    types = [*copies * config.model.qtypes, *also]
    check_room(ctx.workdir, merged_tensors(base, folder), types)


def _with_adapter(ctx: StageContext, found: Candidate, full: Path, tools: Tools) -> Candidate:
    """Add the adapter alone to what is published, and its proof to the others."""
    run_id = ctx.run.run_id
    target = found.gguf_folder / adapter_name(run_id, ctx.run.config.model.outfile)
    inputs = Inputs(full, ctx.workdir / "adapter", run_id.rpartition("-")[0])
    output = proven_adapter(ctx, inputs, tools, target)
    check_base(full)
    outputs = [*found.proof.outputs, output]
    proof = found.proof.model_copy(update={"outputs": outputs, "passed": output.passed})
    return replace(found, proof=proof)


def _candidate(
    ctx: StageContext, base: MergeBase, full: Path, reference: Reference, tools: Tools | None
) -> Candidate:
    """Export onto one base, and hold every file to the tuned model over that base."""
    folder = full
    if reference.nf4:
        folder = rounded_base(full, reference.nf4, ctx.workdir / "nf4")
    files = _export(ctx, base, folder, tools)
    check_base(folder)
    return Candidate(base, folder, files, _verify(ctx, files, reference))


def _export(
    ctx: StageContext, name: MergeBase, base: Path, tools: Tools | None
) -> dict[str, list[Path]]:
    """Write every type's file, and return their parts by type."""
    config = ctx.run.config
    inputs = Inputs(base, ctx.workdir / "adapter", ctx.run.run_id.rpartition("-")[0])
    split_gb = config.quantize.split_gb
    names = gguf_names(ctx.run.run_id, config.model.outfile, config.model.qtypes)
    folder, scratch = ctx.workdir / "gguf" / name, ctx.workdir / "scratch" / name
    folder.mkdir(parents=True)
    scratch.mkdir(parents=True)
    files = {qtype: folder / name for qtype, name in names.items()}
    end_if_stopped(ctx.stop)
    ctx.reporter.phase(f"merging and quantizing {', '.join(files)}")
    export(
        inputs,
        files,
        tools=tools,
        scratch=scratch,
        threads=ctx.threads,
        stop=ctx.stop,
        texts=_training_texts(ctx, inputs) if config.quantize.imatrix else None,
        split_bytes=None if split_gb is None else round(split_gb * 1e9),
    )
    written = {qtype: parts_of(file) for qtype, file in files.items()}
    for qtype, parts in written.items():
        size = sum(part.stat().st_size for part in parts)
        ctx.reporter.event("quantized", qtype=qtype, bytes=size)
    return written


def _verify(ctx: StageContext, files: dict[str, list[Path]], reference: Reference) -> Verification:
    limits = limits_of(tuple(files), ctx.run.config.quantize.verify.thresholds)
    outputs = []
    for qtype, parts in files.items():
        end_if_stopped(ctx.stop)
        ctx.reporter.phase(f"verifying {qtype}")
        found = verify_output(
            qtype, parts, reference, limits[qtype], threads=ctx.threads, stop=ctx.stop
        )
        log.info(
            "%s: KL to the tuned model %.4f (p99 %.3f), top-1 agreement %.1f%%, perplexity x%.3f",
            qtype,
            found.mean_kl,
            found.p99_kl,
            100 * found.top1_agreement,
            found.perplexity_ratio,
        )
        outputs.append(found)
    proof = verification(reference, outputs)
    log.info("%s", proof.adapter_shows)
    return proof


def _not_proven(ctx: StageContext, proof: Verification) -> VerificationError:
    """Name every check that missed, with its numbers."""
    missed = [("the model", check) for check in proof.checks if not check.passed]
    missed += [
        (output.qtype, check)
        for output in proof.outputs
        for check in output.checks
        if not check.passed
    ]
    facts = [
        f"{of}: {check.name} "
        + (check.detail or f"is {check.value:.4g}, the limit is {check.limit:.4g}")
        for of, check in missed
    ]
    hint = "Choose a type of more bits, or see the limits in quantize.verify.thresholds."
    if worse := what_training_did(ctx.store, ctx.layout, ctx.run.config.training.method):
        # Such weights lie far apart, and no type holds them: that is not the export's fault.
        facts.append(worse)
        hint = DIVERGED_HINT
    return VerificationError(
        "the export is not the model that was trained: " + "; ".join(facts),
        where=f"{ctx.store.url}/{ctx.layout.verification}",
        hint=f"Nothing was published. {hint}",
    )


def _answer(ctx: StageContext, files: dict[str, list[Path]]) -> None:
    """Score every file's answers to the held-out rows, into eval.json."""
    config = ctx.run.config
    rows = _held_out(ctx)
    if not config.testing.test or not rows:
        return
    template = PromptTemplate(ctx.run.template)
    evaluation = stored_evaluation(ctx.store, ctx.layout) or Evaluation()
    for qtype, parts in files.items():
        end_if_stopped(ctx.stop)
        ctx.reporter.phase(f"answering with {qtype}")
        answers = answer_rows(
            parts[0],
            [prompt_messages(row, template) for row in rows],
            prompt_tokens=config.training.max_seq_length,
            max_new_tokens=answer_tokens(evaluation, config),
            threads=ctx.threads,
            stop=ctx.stop,
        )
        evaluation = with_quantized(evaluation, qtype, rows, answers)
    ctx.lease.check()
    ctx.store.write(ctx.layout.evaluation, evaluation.model_dump_json(indent=1).encode())


def _held_out(ctx: StageContext) -> list[Example]:
    """The rows that the train stage answered: the test split, else the evaluation split."""
    data = ctx.run.data
    name = next((name for name in ("test", "eval") if data.rows.get(name)), None)
    rows = pull_split(ctx.store, data.digest, name) if name else []
    return rows[: ctx.run.config.testing.limit]


def _publish(
    ctx: StageContext, found: Candidate, reference: Reference, markers: dict[str, Marker]
) -> None:
    end_if_stopped(ctx.stop)
    config = ctx.run.config
    publisher = Publisher(ctx.run, ctx.store, ctx.lease)
    merged = _save_merged(ctx, found.folder, publisher)
    ctx.reporter.phase("publishing")
    folder = found.gguf_folder
    names = {qtype: [part.name for part in parts] for qtype, parts in found.files.items()}
    if config.quantize.modelfile:
        chat = recognize([(turn["messages"], turn["text"]) for turn in reference.chat])
        write_companions(folder, names, chat, _shared_system(ctx))
    write_checksums(folder)
    records = publisher.files(folder)
    if config.paths.final_weights_path:
        copy_out(folder, Path(config.paths.final_weights_path).expanduser())
    manifest = publisher.manifest(markers, {ctx.layout.gguf: records, ctx.layout.merged: merged})
    _publish_report(ctx)
    publisher.success(manifest)
    ctx.reporter.event("published", files=sorted(file.name for file in folder.glob("*.gguf")))
    push_published(ctx, folder)


def _save_merged(ctx: StageContext, base: Path, publisher: Publisher) -> list[FileRecord]:
    """Leave the merged model as safetensors where that is asked for: here, and in the store."""
    config, adapter = ctx.run.config, ctx.workdir / "adapter"
    inputs = Inputs(base, adapter, "")
    if config.paths.merged_model_path:
        ctx.reporter.phase("saving the merged model")
        target = Path(config.paths.merged_model_path).expanduser()
        isolated(ctx.stop, save_merged, base, adapter, inputs.tokenizer, target)
    if not config.quantize.save_merged:
        return []
    ctx.reporter.phase("publishing the merged model")
    prefix = ctx.layout.merged
    files = upload_merged(ctx.store, prefix, inputs, ctx.workdir / "merged", ctx.stop)
    publisher.complete(prefix, files)
    return files


def _training_texts(ctx: StageContext, inputs: Inputs) -> Iterator[str]:
    rows = pull_split(ctx.store, ctx.run.data.digest, "train")
    return training_texts(rows, PromptTemplate(ctx.run.template), inputs.tokenizer)


def _shared_system(ctx: StageContext) -> str | None:
    """The system text of the training rows, if they all have the same."""
    rows = pull_split(ctx.store, ctx.run.data.digest, "train")
    texts = {
        next((turn.content for turn in row.messages if turn.role == "system"), row.system)
        for row in rows
    }
    return texts.pop() if len(texts) == 1 else None


def _publish_report(ctx: StageContext) -> None:
    """Write report.html from what the store has by now."""
    page = render_report(collect(ctx.store, ctx.run.run_id))
    ctx.store.write(ctx.layout.report, page.encode())
