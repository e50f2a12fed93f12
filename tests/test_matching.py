"""Matching: the rows that another table does not have, or has less often."""

from collections import Counter

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from tinymlops.features.intake.changes import in_order
from tinymlops.kernels.matching import unmatched

halves = st.sampled_from([0, 1, 2, 2**63, 2**64 - 1])
hashes = st.lists(st.tuples(halves, halves), max_size=30)


def columns(pairs):
    return np.array([a for a, _ in pairs], np.uint64), np.array([b for _, b in pairs], np.uint64)


@settings(max_examples=100, deadline=None)
@given(hashes, hashes)
def test_of_equal_rows_as_many_are_known_as_there_are(rows, known):
    left, expected = Counter(known), []
    for row in rows:
        expected.append(left[row] == 0)
        left[row] -= left[row] > 0
    assert unmatched(*columns(rows), *columns(known)).tolist() == expected


times = st.none() | st.integers(0, 2)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(times, times, st.integers(0, 3)), max_size=20), st.randoms())
def test_order_is_by_event_then_created_then_content_whatever_it_was(rows, chance):
    schema = {"__event": pl.Int64, "__created": pl.Int64, "value": pl.Int64}
    frame = pl.DataFrame(rows, schema=schema, orient="row").with_columns(__deleted=pl.lit(value=False))
    ordered = in_order(frame)
    assert ordered["__ordinal"].to_list() == list(range(1, len(rows) + 1))

    def key(row):
        return tuple(-1 if time is None else time for time in row[:2])

    assert [key(row) for row in ordered.rows()] == sorted(map(key, rows))
    assert Counter(ordered.select(list(schema)).rows()) == Counter(rows)
    shuffled = list(range(len(rows)))
    chance.shuffle(shuffled)
    assert in_order(frame[shuffled]).equals(ordered)
