"""What a data set holds: sizes, actions, languages, repetitions. No tokenizer is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, Field

from ftctl.contract.evaluation import Overlap
from ftctl.data.baselines import overlap
from ftctl.data.demands import shape
from ftctl.data.example import Example
from ftctl.data.parts import answer_text, prompt_text, right_action
from ftctl.data.scripts import by_script

_PERCENTILES = (50, 90, 99, 100)


class SplitStats(BaseModel):
    """One split."""

    rows: int
    shapes: dict[str, int] = Field(description="rows by what their answer is")
    prompt_characters: dict[str, int] = Field(description="percentiles, p50 to p100")
    answer_characters: dict[str, int] = Field(description="percentiles, p50 to p100")
    actions: dict[str, int] = Field(description="rows by right action, most frequent first")
    unavailable: int = Field(description="rows whose right action is not among the available ones")
    scripts: dict[str, int] = Field(description="rows by script of the request")
    duplicates: int = Field(description="rows whose content, the id aside, stands before them")


class DatasetStats(BaseModel):
    """All splits, and what they share with the training rows."""

    splits: dict[str, SplitStats]
    overlap: dict[str, Overlap] = Field(description="held-out split with the training rows")


def dataset_stats(splits: Mapping[str, Sequence[Example]]) -> DatasetStats:
    """Describe the splits that have rows."""
    train = splits.get("train", [])
    return DatasetStats(
        splits={name: split_stats(rows) for name, rows in splits.items()},
        overlap={name: overlap(train, rows) for name, rows in splits.items() if name != "train"},
    )


def split_stats(rows: Sequence[Example]) -> SplitStats:
    """Describe the rows of one split."""
    contents = Counter(row.model_copy(update={"id": ""}).canonical() for row in rows)
    actions = Counter(action for row in rows if (action := right_action(row)) is not None)
    return SplitStats(
        rows=len(rows),
        shapes=dict(Counter(map(shape, rows)).most_common()),
        prompt_characters=percentiles([len(prompt_text(row)) for row in rows]),
        answer_characters=percentiles([len(answer_text(row)) for row in rows]),
        actions=dict(actions.most_common()),
        unavailable=sum(map(_is_unavailable, rows)),
        scripts={script: len(found) for script, found in by_script(rows).items()},
        duplicates=len(rows) - len(contents),
    )


def percentiles(values: Sequence[int]) -> dict[str, int]:
    """Nearest-rank percentiles: the least value that p % of the values do not exceed."""
    if not values:
        return {}
    ordered = sorted(values)
    return {f"p{p}": ordered[max(0, -(-p * len(ordered) // 100) - 1)] for p in _PERCENTILES}


def _is_unavailable(row: Example) -> bool:
    action = right_action(row)
    return row.prompt is not None and action is not None and action not in row.prompt.actions
