"""Reads back eval.json, which both stages add to."""

from __future__ import annotations

from pydantic import ValidationError

from ftctl.contract.evaluation import Evaluation
from ftctl.contract.layout import RunLayout
from ftctl.errors import StorageError
from ftctl.storage.base import NotFoundError, Store


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
