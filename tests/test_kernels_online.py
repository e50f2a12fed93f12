"""The kernel of online reads: every window over a key's rows is the exact aggregate of what it holds."""

from __future__ import annotations

import math

import numpy as np
from fuzzing import examples
from hypothesis import example, given
from hypothesis import strategies as st
from oracle import oracle_aggregate

from tinymlops.kernels.entries import EVENT, SYSTEM, pack, unpack, usual
from tinymlops.kernels.online import FOUND, INFINITE, NULL, OPERATIONS, TOO_GREAT, UNCERTAIN, cells

EXAMPLES = examples(300)
FUNCTIONS = ("count", "n_unique", "min", "max", "quantile", "sum", "mean", "var", "std")
SPANS = (3, 7, 1000)
Q = 0.3
FLOATS = st.one_of(
    st.floats(allow_infinity=False),
    st.floats(-100, 100),
    st.sampled_from([1.0, 2.0**-63, 2.0**-64, -(2.0**-10), 2.0**53, -0.0, 5e-324]),
)
INTEGERS = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-5, 5))


def answer(keys, dtype, *, parts=1, full=512):
    """Read every function over every span just after the last row; rows are values or None, one tick apart."""
    rows = [row for key in keys for row in key]
    columns = np.array([[usual(column)] * len(rows) for column in range(SYSTEM + 2)], np.int64)
    columns[EVENT] = [1000 - len(key) + i for key in keys for i in range(len(key))]
    columns[SYSTEM] = np.array([row or 0 for row in rows], dtype).view(np.int64)
    columns[SYSTEM + 1] = [row is not None for row in rows]
    entries = [[min(full, len(key) - i) for i in range(0, max(len(key), 1), full)] for key in keys]
    firsts = np.cumsum([0, *map(len, entries)])
    edges = np.cumsum([0, *(rows for key in entries for rows in key)])
    words, _ = pack(edges, np.zeros(edges.size - 1, np.int64), columns)
    offsets, read = unpack(words, firsts, SYSTEM + 2)
    assert np.diff(offsets).tolist() == [len(key) for key in keys]
    assert (read == columns).all()
    bits = int(np.float64(Q).view(np.int64))
    program = [
        [OPERATIONS.index(function), SYSTEM, -1, 0, span, 1, dtype is np.float64, place, bits, 0]
        for place, (span, function) in enumerate((span, function) for span in SPANS for function in FUNCTIONS)
    ]
    cell = np.zeros((3, len(program), len(keys)), np.int64)
    for part in range(parts):
        begin, end = part * len(keys) // parts, (part + 1) * len(keys) // parts
        none = np.empty(0, np.int64), np.empty((0, 0), np.int64)
        cells(words, firsts, SYSTEM + 2, *none, np.array(program), 1000, True, begin, end, cell)
    return cell


def assert_exact(keys, dtype, **how):
    out, state, _ = answer(keys, dtype, **how)
    for k, key in enumerate(keys):
        for place, (span, function) in enumerate((span, function) for span in SPANS for function in FUNCTIONS):
            values = [row for row in key[-span:] if row is not None and row == row]
            try:
                wanted = oracle_aggregate(function, values or ([0.0] if function == "sum" else []), Q)
            except OverflowError:
                assert state[place, k] == TOO_GREAT or (function in ("var", "std") and state[place, k] == UNCERTAIN)
                continue
            if wanted is None:
                assert state[place, k] == NULL
            elif state[place, k] != UNCERTAIN:
                assert state[place, k] == FOUND
                is_float = dtype is np.float64 and function not in ("count", "n_unique")
                is_float |= function in ("quantile", "mean", "var", "std")
                cell = out[place, k]
                assert (cell.view(np.float64) if is_float else cell) == wanted, (function, span, key)


@EXAMPLES
@given(
    keys=st.lists(st.lists(st.one_of(FLOATS, st.none()), max_size=9), min_size=1, max_size=3), parts=st.integers(1, 3)
)
@example(keys=[[1.0, 2.0**-63, -(2.0**-63)]], parts=1)
@example(keys=[[1.0, 2.0**-64, -(2.0**-64)]], parts=1)
@example(keys=[[1.0, 2.0**-74]], parts=1)
@example(keys=[[math.nan, 1.0], [], [-0.0, 0.0]], parts=2)
@example(keys=[[1.7976931348623157e308] * 2 + [-1.7976931348623157e308]], parts=1)
@example(keys=[[-1.5, 5e-324, -5e-324, 1.5]], parts=1)
def test_windows_over_floats_are_exact(keys, parts):
    assert_exact(keys, np.float64, parts=parts, full=2)


@EXAMPLES
@given(keys=st.lists(st.lists(st.one_of(INTEGERS, st.none()), max_size=9), min_size=1, max_size=3))
@example(keys=[[2**63 - 1, -(2**63), 1]])
@example(keys=[[-(2**63)], [2**62, 2**62]])
def test_windows_over_integers_are_exact(keys):
    assert_exact(keys, np.int64, full=4)


def test_infinite_rows_count_and_make_no_other_aggregate_of_their_window():
    out, state, winner = answer([[1.0, math.inf, math.nan]], np.float64)
    functions = [function for _ in SPANS for function in FUNCTIONS]
    assert [out[place, 0] for place, function in enumerate(functions) if function in ("count", "n_unique")] == [2] * 6
    others = [place for place, function in enumerate(functions) if function not in ("count", "n_unique")]
    assert (state[others, 0] == INFINITE).all()
    assert (winner[others, 0] == 1).all()


def test_a_thousand_rows_of_many_magnitudes_are_summed_exactly():
    draw = np.random.default_rng(3)
    rows = [draw.normal(size=1000) * 2.0 ** draw.integers(-reach, reach, 1000) for reach in (1, 20, 31, 40, 400)]
    assert_exact([row.tolist() for row in rows], np.float64)
