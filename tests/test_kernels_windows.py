"""Aggregates over windows of visible rows, against the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from fuzzing import examples
from hypothesis import given
from hypothesis import strategies as st
from oracle import Row, oracle_aggregate, oracle_window
from test_kernels_asof import arranged, points, tables

from tinymlops.kernels.drift import bin_counts, bin_edges, psi
from tinymlops.kernels.records import arrange
from tinymlops.kernels.threads import set_threads
from tinymlops.kernels.windows import FUNCTIONS, Operand, Reduction, Spine, Timeline

EXAMPLES = examples(300)
NUMERIC = [name for name in FUNCTIONS if name not in ("any", "all")]
HUGE = [1.7e308, -1.7e308, 5e-324, 1.0, -0.0, 0.0]


def reduction_of(rows, spine, window, dtype):
    records, order = arranged(rows)
    values = np.array([rows[i].value or 0 for i in order], dtype)
    valid = [rows[i].value is not None and rows[i].keep and not rows[i].deleted for i in order]
    timeline = Timeline(records)
    operand = Operand(timeline, values, np.array(valid, np.bool_))
    return Reduction(operand, Spine(timeline, *points(spine)).window(window))


def assert_windows_agree(rows, spine, window, functions, dtype, q=0.5):
    reduction = reduction_of(rows, spine, window, dtype)
    for function in functions:
        try:
            expected = [oracle_window(function, rows, k, t, window, q) for k, t in spine]
        except OverflowError:
            with pytest.raises(OverflowError):
                reduction.compute(function, q)
            continue
        values, valid = reduction.compute(function, q)
        assert [v.item() if ok else None for v, ok in zip(values, valid, strict=True)] == expected, function


def with_values(rows, draw):
    """The same rows with other values where they have any."""
    return [Row(**(row.__dict__ | {"value": row.value and draw()})) for row in rows]


@EXAMPLES
@given(table=tables(), window=st.integers(1, 20), seed=st.integers(0, 99), q=st.sampled_from([0.0, 0.25, 0.9, 1.0]))
def test_windows_of_floats_are_what_the_oracle_says(table, window, seed, q):
    rows, spine = table
    rng = np.random.default_rng(seed)
    rows = with_values(rows, lambda: rng.choice([rng.normal() * 10.0 ** rng.integers(-9, 9), 1.5, 0.0]).item())
    assert_windows_agree(rows, spine, window, NUMERIC, np.float64, q)


@EXAMPLES
@given(table=tables(), window=st.integers(1, 20), seed=st.integers(0, 99), q=st.floats(0.0, 1.0))
def test_windows_of_floats_as_far_apart_as_can_be_are_what_the_oracle_says(table, window, seed, q):
    rows, spine = table
    rng = np.random.default_rng(seed)
    assert_windows_agree(with_values(rows, lambda: rng.choice(HUGE).item()), spine, window, NUMERIC, np.float64, q)


@EXAMPLES
@given(table=tables(), window=st.integers(1, 20), seed=st.integers(0, 99), bits=st.sampled_from([2, 50, 63]))
def test_windows_of_integers_are_what_the_oracle_says(table, window, seed, bits):
    rows, spine = table
    rng = np.random.default_rng(seed)
    rows = with_values(rows, lambda: int(rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1))))
    assert_windows_agree(rows, spine, window, NUMERIC, np.int64, 0.3)


@EXAMPLES
@given(table=tables(ids=False, deletes=False, late=False), window=st.integers(1, 20))
def test_windows_of_rows_in_order_are_what_the_oracle_says(table, window):
    rows, spine = table
    assert_windows_agree(rows, spine, window, NUMERIC, np.int64)


@EXAMPLES
@given(table=tables(), window=st.integers(1, 20))
def test_any_and_all_of_flags_are_what_the_oracle_says(table, window):
    rows, spine = table
    rows = [Row(**(row.__dict__ | {"value": row.value and row.value - 1})) for row in rows]
    assert_windows_agree(rows, spine, window, ["any", "all", "count"], np.int64)


def test_quantiles_are_numpys():
    values = np.random.default_rng(5).normal(size=101)
    moments = np.arange(101)
    records, _ = arrange(np.zeros(101, np.int64), moments, moments, None, None, keys=1)
    timeline = Timeline(records)
    window = Spine(timeline, np.zeros(101, np.int64), moments + 1).window(40)
    reduction = Reduction(Operand(timeline, values, np.ones(101, np.bool_)), window)
    for q in (0.0, 0.1, 1 / 3, 0.5, 0.75, 0.99, 1.0):
        found, _ = reduction.compute("quantile", q)
        expected = [np.quantile(values[max(0, i - 39) : i + 1], q) for i in range(101)]
        assert found.tolist() == expected


@pytest.fixture(scope="module")
def big():
    rng = np.random.default_rng(3)
    n, m = 60_000, 20_000
    key, event = rng.integers(0, 4, n), rng.integers(0, 10**6, n)
    late = np.where(key == 0, rng.integers(0, 9_000, n), 50)  # key 0 is not monotone
    records, order = arrange(key, event, event + late, None, None, keys=4)
    spine = rng.integers(0, 4, m), rng.integers(0, 10**6, m)
    return Timeline(records), np.round(rng.normal(size=n)[order], 1), rng.random(n) < 0.9, spine


def over(big, window):
    timeline, values, valid, spine = big
    return Reduction(Operand(timeline, values, valid), Spine(timeline, *spine).window(window))


def test_results_do_not_depend_on_the_number_of_threads(big):
    answers = []
    try:
        for threads in (1, 2, 5):
            set_threads(threads)
            reduction = over(big, 20_000)
            answers.append([reduction.compute(name, 0.3)[0] for name in NUMERIC])
    finally:
        set_threads(None)
    for other in answers[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(answers[0], other, strict=True))


@pytest.mark.parametrize("window", [100, 5_000, 900_000])
def test_windows_short_and_long_match_numpy(big, window):
    timeline, values, valid, (key, time) = big
    records, reduction = timeline.records, over(big, window)
    found = {name: reduction.compute(name, 0.3) for name in NUMERIC}
    for cell in range(0, 20_000, 211 if window < 900_000 else 1_009):
        rows = np.arange(*records.offsets[key[cell] : key[cell] + 2])
        inside = (records.event[rows] >= time[cell] - window) & (records.event[rows] < time[cell])
        rows = rows[inside & valid[rows] & (records.visible_from[rows] < time[cell])]
        answer = {name: values[cell].item() if known[cell] else None for name, (values, known) in found.items()}
        for name in NUMERIC:
            assert answer[name] == oracle_aggregate(name, values[rows].tolist(), 0.3), name


def test_a_null_key_has_an_empty_window():
    records, _ = arrange(np.array([0]), np.array([1]), np.array([1]), None, None, keys=1)
    timeline = Timeline(records)
    window = Spine(timeline, np.array([-1, 0, 7]), np.array([5, 5, 5])).window(10)
    reduction = Reduction(Operand(timeline, np.array([1.0]), np.array([True])), window)
    for function, expected in {"count": [0, 1, 0], "sum": [0.0, 1.0, 0.0], "n_unique": [0, 1, 0]}.items():
        values, valid = reduction.compute(function)
        assert values.tolist() == expected
        assert valid.all()
    for function in ("min", "max", "mean", "quantile"):
        values, valid = reduction.compute(function, 0.5)
        assert (values[1], valid.tolist()) == (1.0, [False, True, False])


def test_no_records_and_no_spine_rows_are_no_problem():
    nothing = np.empty(0, np.int64)
    records, _ = arrange(nothing, nothing, nothing, None, None, keys=0)
    timeline = Timeline(records)
    operand = Operand(timeline, np.empty(0), np.empty(0, np.bool_))
    for spine in ((np.array([-1, 0]), np.array([1, 2])), (nothing, nothing)):
        reduction = Reduction(operand, Spine(timeline, *spine).window(10))
        for function in FUNCTIONS:
            column = Operand(timeline, nothing, np.empty(0, np.bool_)) if function in ("any", "all") else operand
            reduction = Reduction(column, Spine(timeline, *spine).window(10))
            values, _ = reduction.compute(function, 0.5)
            assert values.size == spine[0].size


def test_late_rows_alone_are_walked_one_by_one(big):
    timeline = big[0]
    assert timeline.late is not None
    assert set(timeline.key[timeline.late.rows]) == {0}


def test_infinity_and_nan_are_refused_with_their_row():
    records, _ = arrange(np.zeros(2, np.int64), np.arange(2), np.arange(2), None, None, keys=1)
    with pytest.raises(ValueError, match="1"):
        Operand(Timeline(records), np.array([0.0, np.inf]), np.array([True, True]))
    Operand(Timeline(records), np.array([0.0, np.nan]), np.array([True, False]))


def test_an_unknown_aggregate_is_refused(big):
    with pytest.raises(ValueError, match="there are count, sum"):
        over(big, 1).compute("median")


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


WHOLE = st.integers(-9, 9).map(float) | st.integers(-(2**40), 2**40).map(float)
SINGLE = st.floats(-1e6, 1e6, width=32).filter(lambda one: one == 0 or abs(one) > 1e-6)
NUMBERS = WHOLE | SINGLE | st.sampled_from([0.1, -0.0, 1e300, 1.7976931348623157e308, -1.7e308])


@EXAMPLES
@given(rows=st.dictionaries(NUMBERS, st.integers(1, 200), min_size=1, max_size=12), other=NUMBERS)
def test_a_value_that_a_tenth_of_the_rows_have_is_missed_whatever_comes_instead(rows, other):
    baseline = np.repeat(list(rows), list(rows.values()))
    edges = bin_edges(baseline)
    assert np.isfinite(edges).all()
    assert (edges[1:] > edges[:-1]).all()
    expected = bin_counts(baseline, edges)
    for value in (one for one, count in rows.items() if 10 * count >= baseline.size):
        near = baseline[baseline != value]
        instead = near[np.argmin(np.abs(near / 2 - value / 2))] if near.size else value / 2 + 0.3
        for moved in {float(instead), other} - {value}:
            now = bin_counts(np.where(baseline == value, moved, baseline), edges)
            assert psi(expected, now) > 0.5, (value, moved, edges)


@pytest.mark.parametrize("rest", [[], [1.0], [-4.0], [-7.5, 3.0]])
def test_drift_sees_a_flag_that_turned_and_minds_no_last_bit(rest):
    baseline = np.array([0.3] * 95 + [one for one in rest for _ in range(5)])
    edges = bin_edges(baseline)
    expected = bin_counts(baseline, edges)
    beside = np.where(baseline == 0.3, np.nextafter(0.3, [0.0] * 50 + [1.0] * (baseline.size - 50)), baseline)
    assert psi(expected, bin_counts(beside, edges)) == 0.0
    for turned in (1.0, -4.0, 3.0, 0.3000001):
        assert psi(expected, bin_counts(np.full(200, turned), edges)) > 2.0


def test_no_cut_of_the_others_falls_into_the_bin_of_one_value():
    """The median of the others is the value itself: its last bit would change the bin."""
    baseline = np.concatenate([np.full(40, 50.0), np.arange(20.0, 50), np.arange(51.0, 81)])
    edges = bin_edges(baseline)
    assert np.count_nonzero(np.abs(edges - 50) < 1e-6) == 2
    moved = np.where(baseline == 50, np.nextafter(50, 0), baseline)
    assert psi(bin_counts(baseline, edges), bin_counts(moved, edges)) == 0.0


def test_drift_without_rows_is_unknown():
    assert np.isnan(psi(np.zeros(3), np.ones(3)))
    assert bin_edges(np.array([np.nan])).size == 0
