"""How the base does on the held-out rows: measured once a store, by the first run that asks."""

from __future__ import annotations

import hashlib
import json
import logging

from pydantic import ValidationError

from ftctl import __version__
from ftctl.contract.evaluation import BaseEvaluation, Evaluation
from ftctl.contract.identity import PIPELINE
from ftctl.contract.layout import base_evaluation
from ftctl.contract.runfile import RunFile
from ftctl.storage.base import NotFoundError, Store

# What decides which rows there are: their digest says it.
_WHICH_ROWS = {"train", "eval", "format", "eval_fraction", "max_bad", "limit"}
_NOT_ASKED = {"test_dataset", "output_test_file", "batch_size"}

_log = logging.getLogger(__name__)


def base_key(run: RunFile, *, dtype: str, device: str, answer_tokens: int) -> str | None:
    """
    Where the store has the base's numbers for such a run, or would have them.

    Args:
        dtype: what the base computes in.
        device: kind of processor; another one rounds otherwise.
        answer_tokens: room for an answer.
    Returns:
        None where the model before training is not the base: the run goes on from an adapter.
    """
    if run.init_adapter is not None:
        return None
    config = run.config
    method = config.training.method
    own = getattr(config, method, None)
    inputs = {
        "version": __version__,
        "pipeline": PIPELINE,
        "model": run.model.revision,
        # DoRA rounds the base otherwise, though it changes nothing yet.
        "use_8bit": config.model.use_8bit,
        "use_dora": config.model.use_dora,
        "dtype": dtype,
        "device": device,
        "template": run.template,
        "max_seq_length": config.training.max_seq_length,
        "dataset": config.dataset.model_dump(mode="json", exclude=_WHICH_ROWS),
        "testing": config.testing.model_dump(mode="json", exclude=_NOT_ASKED),
        "answer_tokens": answer_tokens,
        # What a method measures besides: rewards of answers, or how likely they are.
        "method": method,
        "settings": own and own.model_dump(mode="json"),
        "files": run.reward_files,
    }
    canonical = json.dumps(inputs, sort_keys=True, separators=(",", ":"))
    return base_evaluation(run.data.digest, hashlib.sha256(canonical.encode()).hexdigest())


def read_base(store: Store, key: str, rows: int) -> BaseEvaluation | None:
    """What is there, if it is whole and of so many rows."""
    try:
        found = BaseEvaluation.model_validate_json(store.read(key))
    except NotFoundError:
        return None
    except ValidationError:
        found = None
    if found is None or found.scores.rows != rows or len(found.answers) not in (0, rows):
        _log.warning("%s/%s is damaged: the base is evaluated again", store.url, key)
        return None
    return found


def write_base(store: Store, key: str, evaluation: Evaluation) -> None:
    """Keep what was measured before training, for runs to come."""
    assert evaluation.before is not None
    answers = [sample.before for sample in evaluation.samples if sample.before is not None]
    found = BaseEvaluation(scores=evaluation.before, answers=answers)
    store.write(key, found.model_dump_json().encode())
