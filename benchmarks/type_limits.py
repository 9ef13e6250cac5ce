"""
The evidence for quantize.verify.thresholds: what every type measures, beside its limits.

Takes a run whose adapter was trained, as `make demo` leaves one, exports it to every type, and
holds each file to the tuned model by llama.cpp, as the convert stage does. Prints the table of
docs/verification.md. Types that llama-quantize makes only with an importance matrix are
made with one, over the run's training rows.

The quickstart takes a quarter of an hour on two cores and 3 GB of disk (TMPDIR).

Example: FTCTL_LLAMA_CPP_DIR=~/llama.cpp python benchmarks/type_limits.py quickstart-0478e0bf4d14
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from ftctl.config.compose import compose
from ftctl.contract.layout import RunLayout
from ftctl.contract.operational import StorageConfig
from ftctl.contract.qtypes import FTYPES, NEED_IMATRIX
from ftctl.contract.runfile import RunFile
from ftctl.contract.spec import PathsConfig, Thresholds
from ftctl.contract.verification import OutputVerification
from ftctl.data.digest import pull_split
from ftctl.report.figures import number, percent
from ftctl.storage.base import Store
from ftctl.storage.markers import download_folder
from ftctl.storage.open import open_store
from ftctl.storage.runs import read_run
from ftctl_trainer.data.template import PromptTemplate
from ftctl_trainer.export.inputs import Inputs
from ftctl_trainer.export.tools import find_tools

# The rest is imported where it is used: the export's processes begin with this module, and in them
# the package gguf must be that of llama.cpp's sources.

# For models of experts alone; and ternary types, which no model that was not trained so survives.
_LEFT_OUT = {"mxfp4_moe", "tq1_0", "tq2_0"}
_HEAD = (
    "| type | mean KL | limit | p99 KL | limit | top-1 | limit | perplexity | limit | |",
    "|---|---|---|---|---|---|---|---|---|---|",
)


def main() -> None:
    """Export, verify, print."""
    from ftctl_trainer.model.source import streamed_model

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--store", default="models", help="the run's store")
    parser.add_argument("--types", nargs="+", default=[t for t in FTYPES if t not in _LEFT_OUT])
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    storage = StorageConfig(url=asked.store)
    store = open_store(storage, default=asked.store)
    run = read_run(store, asked.run)
    limits = compose([]).quantize.verify.thresholds
    say("\n".join(_HEAD))
    with tempfile.TemporaryDirectory(prefix="ftctl-limits-") as name:
        folder = Path(name)
        for part in ("adapter", "reference"):
            download_folder(store, f"{RunLayout(run.run_id).root}{part}/", folder / part)
        base = streamed_model(run.model, store, (storage, asked.store), folder / "base")
        inputs = Inputs(base, folder / "adapter", "limits")
        for qtype, found in measured(store, run, inputs, asked.types, asked.threads):
            say(line(qtype, found, limits[qtype]))


def measured(
    store: Store, run: RunFile, inputs: Inputs, types: Sequence[str], threads: int
) -> Iterator[tuple[str, OutputVerification]]:
    """Yield what each type's file measures; those that need no importance matrix come first."""
    from ftctl_trainer.export.gguf import export
    from ftctl_trainer.export.merge_base import reference_of
    from ftctl_trainer.export.training_texts import training_texts
    from ftctl_trainer.export.verify import verify_output

    tools, stop = find_tools(PathsConfig()), threading.Event()
    folder = inputs.adapter.parent
    reference = reference_of("full", folder / "reference")
    limits = compose([]).quantize.verify.thresholds
    for weighed in (False, True):
        chosen = [qtype for qtype in types if (qtype in NEED_IMATRIX) == weighed]
        if not chosen:
            continue
        scratch = folder / ("weighed" if weighed else "plain")
        scratch.mkdir()
        rows = pull_split(store, run.data.digest, "train") if weighed else []
        texts = training_texts(rows, PromptTemplate(run.template), inputs.tokenizer)
        files = {qtype: scratch / f"{qtype}.gguf" for qtype in chosen}
        export(
            inputs, files, tools=tools, scratch=scratch, threads=threads, stop=stop,
            texts=texts if weighed else None,
        )  # fmt: skip
        for qtype, file in files.items():
            yield (
                qtype,
                verify_output(qtype, [file], reference, limits[qtype], threads=threads, stop=stop),
            )
            file.unlink()


def line(qtype: str, found: OutputVerification, limits: Thresholds) -> str:
    """One type as a row of the table."""
    cells = [
        f"`{qtype}`" + (" (weighed)" if qtype in NEED_IMATRIX else ""),
        number(found.mean_kl, 2),
        f"{limits.mean_kl:g}",
        number(found.p99_kl, 2),
        f"{limits.p99_kl:g}",
        percent(found.top1_agreement),
        percent(limits.top1_agreement),
        f"{found.perplexity_ratio:.3f}",
        f"{limits.perplexity_ratio:g}",
        "" if found.passed else "misses " + ", ".join(c.name for c in found.checks if not c.passed),
    ]
    return f"| {' | '.join(cells)} |"


def say(text: str) -> None:
    """Print."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
