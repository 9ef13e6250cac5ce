"""The train stage: rows in, adapter and reference out."""

from __future__ import annotations

import gc
import logging
from functools import partial
from pathlib import Path
from typing import Any

from ftctl.contract import layout
from ftctl.contract.spec import Config
from ftctl.errors import ConfigError
from ftctl.storage.adapters import pull_adapter
from ftctl.storage.markers import download_folder, read_marker, upload_folder, write_marker
from ftctl_trainer.adapter import save_adapter
from ftctl_trainer.base_evaluation import write_base
from ftctl_trainer.context import StageContext
from ftctl_trainer.data.template import prompt_messages
from ftctl_trainer.data.tokens import check_vocabulary, ensure_pad_token
from ftctl_trainer.determinism import pin
from ftctl_trainer.export.nf4 import Nf4
from ftctl_trainer.judgement import DIVERGED_HINT, what_training_did
from ftctl_trainer.memory import importing, keep_freed_memory
from ftctl_trainer.methods.optimizers import check_optimizer
from ftctl_trainer.model.attention import choose_attention
from ftctl_trainer.model.dense import make_dense, quantized_layers
from ftctl_trainer.model.fast.install import install, refuse_fast
from ftctl_trainer.model.fused import fuse_lora
from ftctl_trainer.model.load import load_full, load_quantized, load_tokenizer
from ftctl_trainer.model.lora import add_lora, load_weights, trainable
from ftctl_trainer.model.precision import Precision, choose_precision, this_machine
from ftctl_trainer.model.shard import shard_base
from ftctl_trainer.model.source import model_folder
from ftctl_trainer.reference import SAMPLE_TOKENS, Keep, choose_sequences, write_reference
from ftctl_trainer.rows import RunRows, load_rows
from ftctl_trainer.stages.evaluation import evaluate, known_evaluation
from ftctl_trainer.stop import end_if_stopped
from ftctl_trainer.tracking.open import check_tracker, tracked

_log = logging.getLogger(__name__)

_CHATS_COMPARED = 3


def run_train(ctx: StageContext) -> None:
    """
    Train the run's adapter, evaluate it before and after, and leave what `convert` needs.

    Raises:
        ConfigError, DataError: the run cannot be trained as it is described.
        RunFailedError: training diverged.
        StoppedError: a stop was asked for; a checkpoint is in the store.
    """
    config = ctx.run.config
    _refuse_unavailable(config)
    keep_freed_memory()
    pin(ctx.threads, config.training.seed, deterministic=config.training.deterministic)
    precision = _precision(ctx)

    ctx.reporter.phase("reading data")
    folder = model_folder(ctx.run.model, ctx.store)
    tokenizer = load_tokenizer(folder, trust_remote_code=config.model.trust_remote_code)
    ensure_pad_token(tokenizer)
    check_vocabulary(tokenizer, folder)
    rows = load_rows(ctx.store, ctx.run, tokenizer)
    end_if_stopped(ctx.stop)

    adapter = ctx.workdir / "adapter"
    if ctx.group.from_first(lambda: read_marker(ctx.store, ctx.layout.adapter) is None):
        with tracked(ctx):
            _tune(ctx, folder, tokenizer, rows, precision, adapter)
    elif ctx.group.first:
        download_folder(ctx.store, ctx.layout.adapter, adapter)
    if ctx.group.first:
        _publish_reference(ctx, folder, tokenizer, rows, precision, adapter)


def _refuse_unavailable(config: Config) -> None:
    """A setting that would be ignored is refused: the run would not be what it says."""
    check_optimizer(config.training.optim)
    check_tracker(config)


def _tune(
    ctx: StageContext,
    folder: Path,
    tokenizer: Any,
    rows: RunRows,
    precision: Precision,
    adapter: Path,
) -> None:
    # TRL takes seconds to import: rows and names are checked before.
    with importing():
        from ftctl_trainer.methods.choice import chosen_method
        from ftctl_trainer.methods.training import train

        method = chosen_method(ctx.run, rows, tokenizer)
    ctx.reporter.phase("loading model")
    tuned = _build_model(ctx, folder, precision, longest=max(method.lengths))
    end_if_stopped(ctx.stop)
    known = partial(known_evaluation, ctx, rows, precision)
    evaluation, base = ctx.group.from_first(known)
    # Where each process has a part of the base only, all take part in every forward pass.
    measures = ctx.group.first or ctx.group.shards
    if measures and evaluation.before is None:
        evaluation = evaluate(ctx, "before", evaluation, tuned, folder, tokenizer, rows, method)
        if base and ctx.group.first and evaluation.before is not None:
            write_base(ctx.store, base, evaluation)
    ctx.reporter.phase("training")
    train(ctx, tuned, method, precision)
    if measures and evaluation.after is None:
        evaluate(ctx, "after", evaluation, tuned, folder, tokenizer, rows, method)
    if ctx.group.first:
        _save(ctx, tuned, tokenizer, adapter)


def _save(ctx: StageContext, tuned: Any, tokenizer: Any, adapter: Path) -> None:
    ctx.reporter.flush()
    if worse := what_training_did(ctx.store, ctx.layout, ctx.run.config.training.method):
        _log.warning("%s. %s", worse, DIVERGED_HINT)

    ctx.reporter.phase("saving adapter")
    base = ctx.run.model
    save_adapter(tuned, tokenizer, adapter, base=base.name, revision=base.revision)
    _publish(ctx, adapter, ctx.layout.adapter)


def _precision(ctx: StageContext) -> Precision:
    model, training = ctx.run.config.model, ctx.run.config.training
    precision = choose_precision(
        this_machine(),
        torch_dtype=model.torch_dtype,
        fp16=training.fp16,
        bf16=training.bf16,
        compute=training.compute,
    )
    if precision.note:
        _log.info("%s", precision.note)
    return precision


def _build_model(ctx: StageContext, folder: Path, precision: Precision, *, longest: int) -> Any:
    config = ctx.run.config.model
    base = load_quantized(
        folder,
        dtype=precision.dtype,
        use_8bit=config.use_8bit,
        attn_implementation=choose_attention(
            config.attn_implementation,
            packing=ctx.run.config.training.packing,
            dtype=precision.dtype,
            longest=longest,
        ),
        trust_remote_code=config.trust_remote_code,
    )
    tuned = add_lora(
        base,
        rank=config.lora_r,
        alpha=config.lora_alpha,
        dropout=config.lora_dropout,
        target_modules=config.lora_target_modules,
        modules_to_save=config.modules_to_save,
        use_rslora=config.use_rslora,
        use_dora=config.use_dora,
        seed=ctx.run.config.training.seed,
    )
    if ctx.run.init_adapter is not None:
        start = ctx.workdir / "init"
        pull_adapter(ctx.store, ctx.run.init_adapter, start)
        load_weights(tuned, start)
        _log.info("going on from the adapter of %s", ctx.run.init_adapter.name)
    _speed_up(tuned, precision, shards=ctx.group.shards)
    if ctx.group.shards:
        shard_base(tuned, ctx.group)
    count = sum(weight.numel() for weight in trainable(tuned).values())
    _log.info("%s trainable weights, base in %s", f"{count:,}", precision.dtype)
    return tuned


def _speed_up(tuned: Any, precision: Precision, *, shards: bool) -> None:
    """Put faster layers in place of transformers' and PEFT's, as far as there are any."""
    import torch

    if not torch.cuda.is_available():
        fuse_lora(tuned)
        return
    try:
        refuse_fast(shards=shards)
        install(tuned, float8=precision.float8)
    except ValueError as error:
        if precision.float8:
            raise ConfigError(
                f"fp8 is not written for this: {error}",
                where="training.compute",
                hint="Use bf16, or leave training.compute null.",
            ) from error
        _log.info("the layers stay transformers' own: %s", error)
        fuse_lora(tuned)
    else:
        _log.info(
            "layers: fused, their frozen products in %s",
            "fp8" if precision.float8 else precision.dtype,
        )


def _publish_reference(
    ctx: StageContext,
    folder: Path,
    tokenizer: Any,
    rows: RunRows,
    precision: Precision,
    adapter: Path,
) -> None:
    from peft import PeftModel

    if read_marker(ctx.store, ctx.layout.reference) is not None:
        return
    verify, asked = ctx.run.config.quantize.verify, ctx.run.config.quantize.merge_base
    source = rows.eval_tokens if len(rows.eval_tokens) else rows.train_tokens
    examples = rows.test or rows.train
    target = ctx.workdir / "reference"
    for place in {"full": [""], "nf4": [layout.NF4], "best": ["", layout.NF4]}[asked]:
        ctx.reporter.phase("writing the reference")
        gc.collect()
        base, nf4 = (_as_trained if place else _full_base)(ctx, folder, precision)
        write_reference(
            target / place,
            PeftModel.from_pretrained(base, adapter),
            tokenizer,
            choose_sequences(source, verify.tokens),
            [prompt_messages(row, rows.template) for row in examples[:_CHATS_COMPARED]],
            keep=Keep(
                verify.top,
                min(SAMPLE_TOKENS, ctx.run.config.testing.max_new_tokens or SAMPLE_TOKENS),
            ),
            nf4=nf4,
            on_row=partial(end_if_stopped, ctx.stop),
        )
    _publish(ctx, target, ctx.layout.reference)


def _full_base(ctx: StageContext, folder: Path, precision: Precision) -> tuple[Any, None]:
    import torch

    return load_full(
        folder,
        dtype="bfloat16" if torch.cuda.is_available() else "float32",
        trust_remote_code=ctx.run.config.model.trust_remote_code,
        # A base that is split for want of room has none here either.
        device="cpu" if ctx.group.shards else None,
    ), None


def _as_trained(ctx: StageContext, folder: Path, precision: Precision) -> tuple[Any, Nf4]:
    """The base as it was quantized for training, and what of it was."""
    import torch

    model = ctx.run.config.model
    base = load_quantized(
        folder,
        dtype=precision.dtype,
        use_8bit=False,
        attn_implementation=model.attn_implementation,
        trust_remote_code=model.trust_remote_code,
    )
    nf4 = Nf4(dtype=precision.dtype, modules=quantized_layers(base))
    return base if torch.cuda.is_available() else make_dense(base), nf4


def _publish(ctx: StageContext, folder: Path, prefix: str) -> None:
    files = upload_folder(ctx.store, folder, prefix)
    ctx.lease.check()
    write_marker(ctx.store, prefix, files, ctx.lease.fence)
    ctx.reporter.event("published", prefix=prefix, marker=layout.marker(prefix))
