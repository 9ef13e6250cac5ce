"""Where rows that lie end to end begin, and the tiles that attention cuts them into."""

from __future__ import annotations

from ftctl_trainer.model.fast.documents import LONG, spans_of, tiles_of


def test_short_neighbours_go_together_and_long_rows_alone() -> None:
    spans = spans_of([5, 7, LONG, LONG + 1, 9, LONG - 1])

    assert [span.lengths for span in spans] == [(5, 7), (LONG,), (LONG + 1,), (9, LONG - 1)]
    assert [span.start for span in spans] == [0, 12, 12 + LONG, 13 + 2 * LONG]
    assert [span.end for span in spans] == [12, 12 + LONG, 13 + 2 * LONG, 21 + 3 * LONG]
    assert [span.is_long for span in spans] == [False, True, True, False]
    assert [span.longest for span in spans] == [7, LONG, LONG + 1, LONG - 1]


def test_tiles_cover_every_token_once_and_know_their_row() -> None:
    lengths = (5, 1, 12, 8)
    tiles = tiles_of(lengths, 4, ends_first=True).tolist()

    seen = sorted(token for _, end, begin in tiles for token in range(begin, min(begin + 4, end)))
    assert seen == list(range(sum(lengths)))
    assert {(first, end) for first, end, _ in tiles} == {(0, 5), (5, 6), (6, 18), (18, 26)}
    assert all((begin - first) % 4 == 0 for first, _, begin in tiles)


def test_tiles_with_the_most_work_come_first() -> None:
    queries = tiles_of((5, 12), 4, ends_first=True).tolist()
    keys = tiles_of((5, 12), 4, ends_first=False).tolist()

    seen = [begin - first for first, _, begin in queries]
    assert seen == sorted(seen, reverse=True)
    left = [end - begin for _, end, begin in keys]
    assert left == sorted(left, reverse=True)
    assert queries[0] == [5, 17, 13]
    assert keys[0] == [5, 17, 5]
