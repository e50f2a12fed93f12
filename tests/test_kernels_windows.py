"""Aggregates over windows of visible rows, against the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import Row, oracle_window
from test_kernels_asof import arranged, points, tables

from tinymlops.kernels import _threads
from tinymlops.kernels.drift import bin_counts, bin_edges, psi
from tinymlops.kernels.records import arrange
from tinymlops.kernels.windows import FUNCTIONS, aggregate, bounds, prepare

EXAMPLES = settings(max_examples=150, deadline=None)
NUMERIC = [name for name in FUNCTIONS if name not in ("any", "all")]


def operand_of(rows, order, dtype):
    values = np.array([rows[i].value or 0 for i in order], dtype)
    valid = [rows[i].value is not None and rows[i].keep and not rows[i].deleted for i in order]
    return prepare(values, np.array(valid, np.bool_))


def assert_windows_agree(rows, spine, window, functions, dtype):
    records, order = arranged(rows)
    key, time = points(spine)
    windows = bounds(records, key, time, window)
    operand = operand_of(rows, order, dtype)
    for function in functions:
        values, valid = aggregate(function, records, operand, time, windows)
        for cell, (k, t) in enumerate(spine):
            expected = oracle_window(function, rows, k, t, window)
            assert (values[cell].item() if valid[cell] else None) == expected, function


@EXAMPLES
@given(table=tables(), window=st.integers(1, 20), seed=st.integers(0, 99))
def test_windows_of_floats_are_what_the_oracle_says(table, window, seed):
    rows, spine = table
    rng = np.random.default_rng(seed)
    rows = [Row(**(row.__dict__ | {"value": row.value and rng.normal() * 10.0 ** rng.integers(-9, 9)})) for row in rows]
    assert_windows_agree(rows, spine, window, NUMERIC, np.float64)


@EXAMPLES
@given(table=tables(), window=st.integers(1, 20), seed=st.integers(0, 99))
def test_windows_of_integers_are_what_the_oracle_says(table, window, seed):
    rows, spine = table
    rng = np.random.default_rng(seed)
    rows = [Row(**(row.__dict__ | {"value": row.value and int(rng.integers(-(2**50), 2**50))})) for row in rows]
    assert_windows_agree(rows, spine, window, NUMERIC, np.int64)


@EXAMPLES
@given(table=tables(ids=False, deletes=False, late=False), window=st.integers(1, 20))
def test_any_and_all_of_flags_are_what_the_oracle_says(table, window):
    rows, spine = table
    rows = [Row(**(row.__dict__ | {"value": row.value and row.value - 1})) for row in rows]
    assert_windows_agree(rows, spine, window, ["any", "all", "count"], np.int64)


@pytest.fixture(scope="module")
def big():
    rng = np.random.default_rng(3)
    n, m = 60_000, 20_000
    key, event = rng.integers(0, 4, n), rng.integers(0, 10**6, n)
    late = np.where(key == 0, rng.integers(0, 9_000, n), 50)  # key 0 is not monotone
    records, order = arrange(key, event, event + late, None, None, keys=4)
    spine = rng.integers(0, 4, m), rng.integers(0, 10**6, m)
    return records, rng.normal(size=n)[order], rng.random(n) < 0.9, spine


def all_aggregates(big, window):
    records, values, valid, (key, time) = big
    operand, windows = prepare(values, valid), bounds(records, key, time, window)
    return [aggregate(name, records, operand, time, windows)[0] for name in NUMERIC]


def test_results_do_not_depend_on_the_number_of_threads(big):
    answers = []
    for threads in (1, 2, 5):
        _threads.set_threads(threads)
        answers.append(all_aggregates(big, 20_000))
    _threads.set_threads(None)
    for other in answers[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(answers[0], other, strict=True))


@pytest.mark.parametrize("window", [100, 5_000, 900_000])
def test_extremes_of_windows_long_and_short_match_numpy(big, window):
    records, values, valid, (key, time) = big
    windows = bounds(records, key, time, window)
    operand = prepare(values, valid)
    lowest, known = aggregate("min", records, operand, time, windows)
    highest, _ = aggregate("max", records, operand, time, windows)
    for cell in range(0, 20_000, 211):
        rows = np.arange(windows.low[cell], windows.high[cell])
        rows = rows[valid[rows] & (records.visible_from[rows] < time[cell])]
        assert known[cell] == bool(rows.size)
        if rows.size:
            assert (lowest[cell], highest[cell]) == (values[rows].min(), values[rows].max())


def test_a_null_key_has_an_empty_window():
    records, _ = arrange(np.array([0]), np.array([1]), np.array([1]), None, None, keys=1)
    time = np.array([5, 5])
    windows = bounds(records, np.array([-1, 0]), time, 10)
    counts, valid = aggregate("count", records, prepare(np.array([1.0]), np.array([True])), time, windows)
    assert counts.tolist() == [0, 1]
    assert valid.all()


def test_infinity_and_nan_are_refused_with_their_row():
    with pytest.raises(ValueError, match="1"):
        prepare(np.array([0.0, np.inf]), np.array([True, True]))
    prepare(np.array([0.0, np.nan]), np.array([True, False]))


def test_an_unknown_aggregate_is_refused(big):
    with pytest.raises(ValueError, match="there are count, sum"):
        records, values, valid, (key, time) = big
        aggregate("median", records, prepare(values, valid), time, bounds(records, key, time, 1))


def test_drift_of_a_distribution_from_itself_is_zero_and_a_shift_is_seen():
    baseline = np.random.default_rng(0).normal(size=5_000)
    edges = bin_edges(baseline)
    assert len(edges) == 9
    expected = bin_counts(baseline, edges)
    assert psi(expected, expected) == 0.0
    assert psi(expected, bin_counts(baseline + 1.0, edges)) > 0.25


def test_drift_sees_nulls_and_leaves_of_a_constant():
    edges = bin_edges(np.full(100, 3.0))
    expected = bin_counts(np.full(100, 3.0), edges)
    assert expected.tolist() == [0, 100, 0, 0]
    for moved in (2.0, 4.0, np.nan):
        assert psi(expected, bin_counts(np.full(100, moved), edges)) > 1.0


def test_drift_without_rows_is_unknown():
    assert np.isnan(psi(np.zeros(3), np.ones(3)))
    assert bin_edges(np.array([np.nan])).size == 0
