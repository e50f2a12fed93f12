"""Rows are sorted by (key, lead, created, sequence, row number), however their leads are spread."""

from __future__ import annotations

import numpy as np
import pytest

from tinymlops.kernels._sort import as_rows, sort_leads

LEADS = {
    "spread": lambda rng, n: rng.integers(0, 10**12, n),
    "tied": lambda rng, n: rng.integers(0, 7, n),
    "all alike": lambda rng, n: np.full(n, 5),
    "skewed": lambda rng, n: np.exp(rng.normal(size=n) * 9).astype(np.int64),
    "far apart": lambda rng, n: rng.choice([-(2**63), -1, 0, 1, 2**63 - 1], n),
    "in order": lambda rng, n: np.arange(n) + rng.integers(0, 3, n),
    "one far off": lambda rng, n: np.where(np.arange(n) == 3, 2**62, rng.integers(0, 10**6, n)),
}


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("spread", LEADS)
def test_rows_are_sorted_however_their_leads_are_spread(spread, ties):
    rng = np.random.default_rng(2)
    n = 30_000
    key, lead = rng.integers(-1, 40, n), LEADS[spread](rng, n)
    created = rng.integers(0, 3, n) if ties else np.zeros(n, np.int64)
    sequence = rng.permutation(n) if ties else None
    offsets, order, leads = sort_leads(key, lead, created, as_rows(sequence), keys=40)
    expected = np.lexsort((np.arange(n) if sequence is None else sequence, created, lead, key))
    expected = expected[key[expected] >= 0]
    assert np.array_equal(order, expected)
    assert np.array_equal(leads, lead[order])
    assert np.array_equal(np.diff(offsets), np.bincount(key[key >= 0], minlength=40))
