"""Sums, means and deviations are the exact value rounded once, for all float64 and int64 there are."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from fuzzing import examples
from hypothesis import assume, example, given
from hypothesis import strategies as st
from oracle import nearest_root, oracle_aggregate

from tinymlops.kernels import exact
from tinymlops.kernels.exact import _rounded_root, deviation_of
from tinymlops.kernels.records import arrange
from tinymlops.kernels.threads import set_threads
from tinymlops.kernels.windows import Operand, Reduction, Spine, Timeline

EXAMPLES = examples(300)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
INTEGERS = st.integers(-(2**63), 2**63 - 1)


def over(values, runs, function, *, late=False):
    """The aggregate over runs of rows low:high, each as a key of its own; all are visible, `late` ones in reverse order."""
    key = np.concatenate([np.full(high - low, k) for k, (low, high) in enumerate(runs)])
    rows = np.concatenate([np.arange(low, high) for low, high in runs]).astype(np.int64)
    n = len(values)
    records, order = arrange(key, rows, 2 * n - rows if late else rows, None, None, keys=len(runs))
    timeline = Timeline(records)
    spine = Spine(timeline, np.arange(len(runs)), np.full(len(runs), 3 * n))
    operand = Operand(timeline, values[rows[order]], np.ones(len(rows), np.bool_))
    return Reduction(operand, spine.window(3 * n)).compute(function)


def assert_exact(values, dtype, late):
    array = np.array(values, dtype)
    runs = [(low, high) for low in range(len(values)) for high in range(low, len(values) + 1)][:60]
    for function in ("sum", "mean", "min", "max", "var", "std"):
        expected = []
        for cell, (low, high) in enumerate(runs):
            try:
                part = [value.item() for value in array[low:high]]
                expected.append(oracle_aggregate(function, part if part or dtype is np.int64 else []))
            except OverflowError:
                with pytest.raises(OverflowError) as error:
                    over(array, runs, function, late=late)
                assert error.value.args == (cell,)
                break
        else:
            results, valid = over(array, runs, function, late=late)
            assert [v.item() if ok else None for v, ok in zip(results, valid, strict=True)] == expected


@EXAMPLES
@given(values=st.lists(FLOATS, min_size=1, max_size=8), late=st.booleans())
@example(values=[1e308, 1e308, -1e308], late=False)
@example(values=[5e-324, -5e-324, 1e-310, 2.2250738585072014e-308], late=False)
@example(values=[1.0, 2.0**-53, 2.0**-106], late=False)
@example(values=[1.0, 2.0**-53, -(2.0**-1074)], late=False)
@example(values=[5e-324, 1.7976931348623157e308, -1.7976931348623157e308], late=True)
@example(values=[1.7976931348623157e308, 2.0**970], late=False)
@example(values=[1.7976931348623157e308, math.nextafter(2.0**970, 0.0)], late=False)
@example(values=[-0.0, 0.0], late=False)
def test_any_floats_are_summed_exactly(values, late):
    assert_exact(values, np.float64, late)


@EXAMPLES
@given(values=st.lists(st.one_of(INTEGERS, st.integers(-5, 5)), min_size=1, max_size=8), late=st.booleans())
@example(values=[2**63 - 1, -(2**63), 1], late=False)
@example(values=[-(2**62), -(2**62)], late=False)
@example(values=[2**62, 2**62], late=False)
@example(values=[-(2**63)], late=True)
@example(values=[2**53 + 1], late=False)
def test_any_integers_are_summed_exactly_or_the_overflow_is_named(values, late):
    assert_exact(values, np.int64, late)


@EXAMPLES
@given(
    values=st.lists(st.floats(-1e6, 1e6).map(lambda x: round(x, 2)), min_size=2, max_size=30),
    shift=st.sampled_from([0.0, 1e9, 1e15]),
)
def test_a_variance_far_from_zero_loses_nothing(values, shift):
    assert_exact([value + shift for value in values][:9], np.float64, late=False)


def test_order_does_not_change_a_bit():
    rng = np.random.default_rng(0)
    values = rng.normal(size=5_000) * 10.0 ** rng.integers(-200, 150, 5_000)
    whole = [(0, 5_000)]
    for function in ("sum", "mean", "std"):
        plain = over(values, whole, function)[0]
        for seed in range(3):
            shuffled = np.random.default_rng(seed).permutation(values)
            assert over(shuffled, whole, function)[0] == plain
    assert over(values, whole, "sum")[0] == math.fsum(values)


def test_columns_of_many_rows_are_split_over_threads_without_a_trace():
    rng = np.random.default_rng(1)
    values = rng.normal(size=150_000)
    cuts = rng.integers(0, 150_000, (2, 40))
    runs = list(zip(cuts.min(0), cuts.max(0), strict=True))
    try:
        for threads in (1, 3):
            set_threads(threads)
            sums, _ = over(values, runs, "sum")
            assert sums.tolist() == [math.fsum(values[low:high]) for low, high in runs]
    finally:
        set_threads(None)


def test_a_cell_that_double_double_leaves_open_is_done_in_integers(monkeypatch):
    done = []

    def exact_deviation(values, *, root):
        done.append(values)
        return deviation_of(values, root=root)

    monkeypatch.setattr(exact, "deviation_of", exact_deviation)
    # The variance 2 * (2**27 - 1)**2 has 54 bits and is odd in the last: just halfway between two floats.
    values = [0, 2 * (2**27 - 1)]
    results, _ = over(np.array(values), [(0, 2)], "var")
    assert results[0] == oracle_aggregate("var", values)
    assert len(done) == 1


@EXAMPLES
@given(top=st.integers(0, 2**1100), bottom=st.integers(1, 2**1100))
def test_roots_of_fractions_are_rounded_once(top, bottom):
    value = Fraction(top, bottom)
    assume(value < 2**1000)
    assert _rounded_root(value) == nearest_root(value)
