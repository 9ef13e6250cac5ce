"""The part of the convert stage that publishes the adapter alone, proven like the whole files."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from ftctl.contract.verification import OutputVerification
from ftctl_trainer.context import StageContext
from ftctl_trainer.export.adapter_gguf import write_adapter_gguf, write_base_gguf
from ftctl_trainer.export.inputs import Inputs
from ftctl_trainer.export.merge_base import reference_of
from ftctl_trainer.export.tools import Tools
from ftctl_trainer.export.verify import limits_of, verify_adapter
from ftctl_trainer.stop import end_if_stopped

log = logging.getLogger(__name__)

# The limits that it is held to: of the type that it, and the base beside it, have.
TYPE = "f16"


def proven_adapter(
    ctx: StageContext, inputs: Inputs, tools: Tools, target: Path
) -> OutputVerification:
    """
    Write the adapter as a GGUF, and hold llama.cpp's base with it to the tuned model.

    Args:
        inputs: with the full-precision base, which people have.
    Raises:
        RunFailedError: it is more than plain LoRA, or llama.cpp fails.
        StoppedError: ctx.stop was set.
    """
    end_if_stopped(ctx.stop)
    ctx.reporter.phase("converting the adapter")
    scratch = ctx.workdir / "scratch" / "adapter"
    scratch.mkdir(parents=True)
    write_adapter_gguf(tools, inputs, target, scratch, ctx.stop)
    base = scratch / "base.gguf"
    write_base_gguf(tools, inputs, base, scratch, ctx.threads, ctx.stop)
    ctx.reporter.phase("verifying the adapter")
    limits = limits_of((TYPE,), ctx.run.config.quantize.verify.thresholds)[TYPE]
    reference = reference_of("full", ctx.workdir / "reference")
    found = verify_adapter(target, base, reference, limits, threads=ctx.threads, stop=ctx.stop)
    shutil.rmtree(scratch)
    log.info("the adapter over the F16 base: KL to the tuned model %.4f", found.mean_kl)
    return found
