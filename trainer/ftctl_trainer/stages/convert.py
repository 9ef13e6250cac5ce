"""The convert stage: adapter and reference in, proven GGUF files out."""

from __future__ import annotations

import logging
from pathlib import Path

from ftctl.contract.evaluation import Evaluation
from ftctl.contract.lineage import Marker
from ftctl.contract.runfile import RunFile
from ftctl.contract.verification import Verification
from ftctl.data.digest import pull_split
from ftctl.data.example import Example
from ftctl.errors import ConfigError, VerificationError
from ftctl.report.collect import collect
from ftctl.report.html import render_report
from ftctl.storage.markers import download_folder
from ftctl_trainer.context import StageContext
from ftctl_trainer.data.template import PromptTemplate, prompt_messages
from ftctl_trainer.evaluation_file import stored_evaluation
from ftctl_trainer.export.answers import answer_rows, with_quantized
from ftctl_trainer.export.chat_formats import recognize
from ftctl_trainer.export.gguf import Inputs, export, find_tools, spare_tools
from ftctl_trainer.export.isolated import isolated
from ftctl_trainer.export.plain_path import Tools, save_merged
from ftctl_trainer.export.publish import (
    Publisher,
    copy_out,
    gguf_names,
    write_checksums,
    write_companions,
)
from ftctl_trainer.export.reference import Reference, read_reference
from ftctl_trainer.export.tensor_types import check_types
from ftctl_trainer.export.verify import limits_of, verification, verify_output
from ftctl_trainer.judgement import DIVERGED_HINT, what_training_did
from ftctl_trainer.model.source import model_folder
from ftctl_trainer.stop import end_if_stopped

log = logging.getLogger(__name__)


def run_convert(ctx: StageContext) -> None:
    """
    Merge, quantize, prove and publish.

    Safe to repeat: killed at any line and started again, it ends the same.

    Raises:
        ConfigError: something is asked for that this version cannot do.
        RunFailedError: the adapter does not fit the base, or llama.cpp fails.
        VerificationError: what was exported is not what was trained; nothing is published.
        StoppedError: ctx.stop was set.
    """
    config = ctx.run.config
    tools = find_tools(config.paths)
    check_types(config.model.qtypes, built_in=(tools or spare_tools()) is None)
    limits_of(config.model.qtypes, config.quantize.verify.thresholds)
    _refuse_later_features(ctx.run)

    ctx.reporter.phase("fetching the adapter")
    markers = {
        name: download_folder(ctx.store, f"{ctx.layout.root}{name}/", ctx.workdir / name)
        for name in ("adapter", "reference")
    }
    reference = read_reference(ctx.workdir / "reference")
    ctx.reporter.phase("fetching the base model")
    base = model_folder(ctx.run.model, ctx.store)

    files = _export(ctx, base, tools)
    proof = _verify(ctx, files, reference)
    ctx.lease.check()
    ctx.store.write(ctx.layout.verification, proof.model_dump_json(indent=2).encode())
    if not proof.passed:
        raise _not_proven(ctx, proof)
    _answer(ctx, files)
    _publish(ctx, files, reference, markers)


def _refuse_later_features(run: RunFile) -> None:
    asked = run.config.quantize
    for key, wanted in (
        ("imatrix=true", asked.imatrix),
        (f"merge_base={asked.merge_base}", asked.merge_base != "full"),
        ("save_merged=true", asked.save_merged),
        (f"split_gb={asked.split_gb}", asked.split_gb is not None),
    ):
        if wanted:
            raise ConfigError(
                "this version cannot do that yet",
                where=f"quantize.{key}",
                hint="Leave it at its default.",
            )


def _export(ctx: StageContext, base: Path, tools: Tools | None) -> dict[str, Path]:
    """Write every type's file, and return them by type."""
    config = ctx.run.config
    inputs = Inputs(base, ctx.workdir / "adapter", ctx.run.run_id.rpartition("-")[0])
    names = gguf_names(ctx.run.run_id, config.model.outfile, config.model.qtypes)
    folder, scratch = ctx.workdir / "gguf", ctx.workdir / "scratch"
    folder.mkdir()
    scratch.mkdir()
    files = {qtype: folder / name for qtype, name in names.items()}
    end_if_stopped(ctx.stop)
    ctx.reporter.phase(f"merging and quantizing {', '.join(files)}")
    export(
        inputs,
        files,
        tools=tools,
        spare=spare_tools(),
        scratch=scratch,
        threads=ctx.threads,
        stop=ctx.stop,
    )
    if config.paths.merged_model_path:
        ctx.reporter.phase("saving the merged model")
        target = Path(config.paths.merged_model_path).expanduser()
        isolated(ctx.stop, save_merged, base, inputs.adapter, inputs.tokenizer, target)
    for qtype, file in files.items():
        ctx.reporter.event("quantized", qtype=qtype, bytes=file.stat().st_size)
    return files


def _verify(ctx: StageContext, files: dict[str, Path], reference: Reference) -> Verification:
    limits = limits_of(tuple(files), ctx.run.config.quantize.verify.thresholds)
    outputs = []
    for qtype, file in files.items():
        end_if_stopped(ctx.stop)
        ctx.reporter.phase(f"verifying {qtype}")
        found = verify_output(
            qtype, file, reference, limits[qtype], threads=ctx.threads, stop=ctx.stop
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


def _answer(ctx: StageContext, files: dict[str, Path]) -> None:
    """Score every file's answers to the held-out rows, into eval.json."""
    config = ctx.run.config
    rows = _held_out(ctx)
    if not config.testing.test or not rows:
        return
    template = PromptTemplate(ctx.run.template)
    evaluation = stored_evaluation(ctx.store, ctx.layout) or Evaluation()
    for qtype, file in files.items():
        end_if_stopped(ctx.stop)
        ctx.reporter.phase(f"answering with {qtype}")
        answers = answer_rows(
            file,
            [prompt_messages(row, template) for row in rows],
            prompt_tokens=config.training.max_seq_length,
            max_new_tokens=config.testing.max_new_tokens,
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
    ctx: StageContext, files: dict[str, Path], reference: Reference, markers: dict[str, Marker]
) -> None:
    end_if_stopped(ctx.stop)
    ctx.reporter.phase("publishing")
    config, folder = ctx.run.config, ctx.workdir / "gguf"
    names = {qtype: file.name for qtype, file in files.items()}
    if config.quantize.modelfile:
        chat = recognize([(turn["messages"], turn["text"]) for turn in reference.chat])
        write_companions(folder, names, chat, _shared_system(ctx))
    write_checksums(folder)
    publisher = Publisher(ctx.run, ctx.store, ctx.lease)
    records = publisher.files(folder)
    if config.paths.final_weights_path:
        copy_out(folder, Path(config.paths.final_weights_path).expanduser())
    manifest = publisher.manifest(markers, records)
    _publish_report(ctx)
    publisher.success(manifest)
    ctx.reporter.event("published", files=sorted(names.values()))


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
