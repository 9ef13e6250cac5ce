"""Reads back eval.json, which both stages add to."""

from __future__ import annotations

from pydantic import ValidationError

from ftctl.contract.evaluation import Evaluation
from ftctl.contract.layout import RunLayout
from ftctl.contract.spec import Config
from ftctl.errors import StorageError
from ftctl.storage.base import NotFoundError, Store

# Of runs whose eval.json does not say it.
_ANSWER_TOKENS = 256


def answer_tokens(evaluation: Evaluation, config: Config) -> int:
    """Tokens that an answer may have: the same before and after training, and of every file."""
    return evaluation.answer_tokens or config.testing.max_new_tokens or _ANSWER_TOKENS


def stored_evaluation(store: Store, keys: RunLayout) -> Evaluation | None:
    """What an earlier stage or attempt found out, or None. Raises StorageError: it is damaged."""
    try:
        return Evaluation.model_validate_json(store.read(keys.evaluation))
    except NotFoundError:
        return None
    except ValidationError as error:
        raise StorageError(
            "this is not the evaluation of a run",
            where=f"{store.url}/{keys.evaluation}",
            hint=f"It was changed by hand. Delete it and {store.url}/{keys.adapter}_COMPLETE, "
            "and resume the run: it evaluates again.",
        ) from error
