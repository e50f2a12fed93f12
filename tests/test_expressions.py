"""Expressions over rows: refused while they are defined, stored as JSON, and computed as Polars would."""

import math
import operator

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_series_equal

import tinymlops as tm
from tinymlops.errors import DefinitionError
from tinymlops.features.compute.evaluating import evaluate
from tinymlops.features.definitions.expressions import Aggregate, Column, Constant, columns_of

rows = tm.Rows()

ARITHMETIC = [operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod]
COMPARISONS = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]
LOGIC = [operator.and_, operator.or_]

small = st.integers(-20, 20)
floats = st.sampled_from([-2.5, -1.0, -0.0, 0.25, 3.0, 1e300])
columns = {"i": small, "j": small, "x": floats, "y": floats, "p": st.booleans(), "q": st.booleans()}
frames = st.integers(1, 8).flatmap(
    lambda n: st.fixed_dictionaries(
        {name: st.lists(st.none() | values, min_size=n, max_size=n) for name, values in columns.items()}
    )
)
SCHEMA = {"i": pl.Int64, "j": pl.Int64, "x": pl.Float64, "y": pl.Float64, "p": pl.Boolean, "q": pl.Boolean}


def stored(aggregate):
    return msgspec.json.decode(msgspec.json.encode(aggregate), type=Aggregate)


class Both:
    """The same expression of ours and of Polars, built by the same operators."""

    def __init__(self, ours, polars):
        self.ours = ours
        self.polars = polars

    def __repr__(self):
        return str(self.polars)

    def apply(self, function, other=None):
        if other is None:
            return Both(function(self.ours), function(self.polars))
        if isinstance(other, Both):
            return Both(function(self.ours, other.ours), fine(function, self.polars, other.polars))
        return Both(function(self.ours, other), fine(function, self.polars, other))

    def after(self, function, constant):
        """The constant on the left."""
        return Both(function(constant, self.ours), fine(function, constant, self.polars))


def fine(function, left, right):
    """What Polars gives, null where that is NaN or infinite."""
    result = function(left, right)
    return pl.when(result.is_finite()).then(result) if function in ARITHMETIC else result


def computed(frame, expression):
    return evaluate(expression, frame).series.to_list()


def column(name):
    return Both(rows[name], pl.col(name))


def unary(inner, functions):
    return st.builds(lambda one, function: one.apply(function), inner, st.sampled_from(functions))


def binary(left, right, functions):
    return st.builds(lambda a, b, function: a.apply(function, b), left, right, st.sampled_from(functions))


def reflected(constants, inner, functions):
    return st.builds(lambda a, b, function: b.after(function, a), constants, inner, st.sampled_from(functions))


numbers = st.recursive(
    st.sampled_from(["i", "j", "x", "y"]).map(column),
    lambda inner: (
        binary(inner, inner | small | floats, ARITHMETIC)
        | reflected(small | floats, inner, ARITHMETIC)
        | unary(inner, [operator.neg, abs, lambda e: e.abs(), lambda e: e.fill_null(7)])
    ),
    max_leaves=6,
)
conditions = st.recursive(
    st.sampled_from(["p", "q"]).map(column)
    | binary(numbers, numbers | small | floats, COMPARISONS)
    | reflected(small | floats, numbers, COMPARISONS)
    | unary(numbers, [lambda e: e.is_null(), lambda e: e.is_not_null()]),
    lambda inner: (
        binary(inner, inner | st.booleans(), LOGIC)
        | reflected(st.booleans(), inner, LOGIC)
        | unary(inner, [operator.invert, lambda e: e.fill_null(value=True)])
    ),
    max_leaves=6,
)


def assert_same(frame, ours, polars):
    """Compare what two expressions give for a frame, their refusals included.

    Polars is asked row by row: it multiplies several rows by the reciprocal of a constant, and divides a single one.
    """
    try:
        wanted = frame.select(polars.alias("value")).to_series()
        wanted = pl.concat(
            [wanted.clear(), *(one.select(polars.alias("value")).to_series() for one in frame.iter_slices(1))]
        )
    except pl.exceptions.PolarsError as error:
        with pytest.raises(type(error)):
            evaluate(ours, frame)
        return
    assert_series_equal(evaluate(ours, frame).series.alias("value"), wanted, check_exact=True)


@given(frames, numbers | conditions)
def test_an_expression_gives_what_the_same_polars_expression_gives(data, both):
    assert_same(pl.DataFrame(data, schema=SCHEMA), both.ours, both.polars)


@given(frames, numbers | conditions)
def test_a_stored_expression_gives_the_same_as_the_one_that_was_written(data, both):
    again = stored(both.ours.last())
    assert msgspec.json.encode(again) == msgspec.json.encode(both.ours.last())
    assert_same(pl.DataFrame(data, schema=SCHEMA), again.operand, both.polars)


@given(frames, numbers | conditions)
def test_the_columns_of_an_expression_are_those_that_polars_reads(data, both):
    read = set(both.polars.meta.root_names())
    assert columns_of(both.ours) == read
    assert columns_of(both.ours.last(where=rows["q"])) == read | {"q"}
    if read:  # and no other column is needed
        assert_same(pl.DataFrame(data, schema=SCHEMA).select(sorted(read)), both.ours, both.polars)


# What the operators mean, told by plain Python: null with anything is null, and logic is Kleene's.

PYTHON = {
    **{function: function for function in [operator.add, operator.sub, operator.mul, *COMPARISONS]},
    operator.truediv: lambda a, b: a / b if b else None,
    operator.floordiv: lambda a, b: a // b if b else None,
    operator.mod: lambda a, b: a % b if b else None,
}


@pytest.mark.parametrize("function", PYTHON, ids=lambda function: function.__name__)
@given(st.lists(st.tuples(st.none() | small, st.none() | small), min_size=1, max_size=8))
def test_integers_are_computed_as_in_python_and_null_spreads(function, pairs):
    frame = pl.DataFrame(pairs, schema={"i": pl.Int64, "j": pl.Int64}, orient="row")
    found = computed(frame, function(rows["i"], rows["j"]))
    wanted = [None if None in pair else PYTHON[function](*pair) for pair in pairs]
    assert found == wanted


TRIPLE = [None, False, True]


@pytest.mark.parametrize("left", TRIPLE)
@pytest.mark.parametrize("right", TRIPLE)
def test_conditions_with_nulls_follow_kleene(left, right):
    frame = pl.DataFrame({"p": [left], "q": [right]}, schema={"p": pl.Boolean, "q": pl.Boolean})
    p, q = rows["p"], rows["q"]
    both = False if False in (left, right) else None if None in (left, right) else True
    either = True if True in (left, right) else None if None in (left, right) else False
    negated = None if left is None else not left
    assert computed(frame, p & q) == [both]
    assert computed(frame, p | q) == [either]
    assert computed(frame, ~p) == [negated]
    assert computed(frame, p.is_null()) == [(left is None)]
    assert computed(frame, p.fill_null(value=True)) == [(True if left is None else left)]


def test_text_is_compared_as_text():
    frame = pl.DataFrame({"carrier": ["UA", "AA", None]})
    assert computed(frame, rows["carrier"] == "UA") == [True, False, None]


# What is refused while it is defined


@pytest.mark.parametrize(
    "write",
    [
        lambda: rows["a"] > 1 and rows["a"] < 2,
        lambda: rows["a"] > 1 or rows["a"] < 2,
        lambda: not rows["a"],
        lambda: 1 < rows["a"] < 2,
        lambda: rows["a"] in [1, 2],
        lambda: max(rows["a"], rows["b"]),
    ],
    ids=["and", "or", "not", "chained", "in", "max"],
)
def test_pythons_own_logic_is_refused_with_the_operators_to_use(write):
    with pytest.raises(DefinitionError, match="no truth value while it is being defined") as info:
        write()
    assert info.value.hint == (
        "write & for and, | for or, ~ for not, each condition in parentheses; .is_in([...]) for in; where= in place of if"
    )


@pytest.mark.parametrize(
    "value", [None, [1], {"a": 1}, object(), pl.col("b"), np.array([1]), np.datetime64("2024-01-01")]
)
def test_what_cannot_stand_in_an_expression_is_refused(value):
    with pytest.raises(DefinitionError, match="cannot be part of an expression") as info:
        rows["a"] == value  # noqa: B015
    assert info.value.hint == "use columns such as rows['amount'], numbers, strings and booleans"


def test_a_condition_that_is_no_expression_is_refused():
    with pytest.raises(DefinitionError, match="cannot be part of an expression"):
        rows["a"].last(where=pl.col("b") > 1)


@pytest.mark.parametrize("window", ["", "7", "d", "1mo", "-1d", "1.5h", "7 d", "0d", 7])
def test_a_window_that_is_no_duration_is_refused(window):
    with pytest.raises(DefinitionError, match="window="):
        rows["a"].sum(window=window)


@pytest.mark.parametrize(
    ("value", "message", "hint"),
    [
        (math.inf, "inf cannot be a constant", "no value of an expression is infinite or NaN"),
        (-math.inf, "-inf cannot be a constant", "no value of an expression is infinite or NaN"),
        (math.nan, "nan cannot be a constant", "use .is_null()"),
        (np.float32("nan"), "nan cannot be a constant", "use .is_null()"),
        (2**63, "9223372036854775808 is beyond 64 bits", "write it as a float"),
        (np.uint64(2**63), "9223372036854775808 is beyond 64 bits", "write it as a float"),
        (-(2**63) - 1, "is beyond 64 bits", "write it as a float"),
        ("half \ud83d", "is not valid text", "correct its encoding"),
    ],
)
@pytest.mark.parametrize("write", [operator.gt, lambda a, b: a.fill_null(b)], ids=["compared", "filled"])
def test_a_constant_that_could_not_be_stored_as_it_is_is_refused(write, value, message, hint):
    with pytest.raises(DefinitionError) as info:
        write(rows["a"], value)
    assert message in info.value.message
    assert hint in info.value.hint


@pytest.mark.parametrize(
    ("number", "plain"),
    [(np.float64(1.5), 1.5), (np.float32(0.1), float(np.float32(0.1))), (np.int64(-3), -3), (np.bool_(True), True)],
)
def test_a_numpy_number_is_stored_exactly_whichever_side_it_is_on(number, plain):
    for expression in (rows["a"] == number, number == rows["a"]):
        again = stored(expression.last()).operand.right.value
        assert (type(again), again) == (type(plain), plain)
    (constant,) = [side for side in vars_of(number * rows["a"]) if isinstance(side, Constant)]
    assert (type(constant.value), constant.value) == (type(plain), plain)


def vars_of(binary):
    return binary.left, binary.right


@pytest.mark.parametrize("name", [3, "", None, "__event", pl.col("a")])
def test_a_column_without_a_name_is_refused(name):
    with pytest.raises(DefinitionError, match="is not the name of a column of rows") as info:
        rows[name]
    assert info.value.hint == 'write rows["amount"]; names that begin with __ are ours'


@pytest.mark.parametrize("walk", [list, lambda rows: "a" in rows, lambda rows: [*rows], max])
def test_rows_cannot_be_walked_through(walk):
    with pytest.raises(DefinitionError, match="cannot be iterated") as info:
        walk(tm.Rows())
    assert "name the columns" in info.value.hint


# What aggregates hold


@pytest.mark.parametrize("name", ["count", "sum", "mean", "min", "max", "std"])
def test_an_aggregate_holds_function_operand_window_and_condition(name):
    aggregate = getattr(rows["amount"], name)(window="7d", where=rows["paid"])
    assert (aggregate.function, aggregate.window) == (name, 7 * 86_400_000_000)
    assert (columns_of(aggregate.operand), columns_of(aggregate.where)) == ({"amount"}, {"paid"})
    assert repr(aggregate) == f"<{name} of amount where paid over 7d>"


@pytest.mark.parametrize("name", ["first", "last"])
def test_first_and_last_need_no_window_and_may_skip_nulls(name):
    aggregate = getattr(rows["amount"], name)(skip_nulls=True)
    assert (aggregate.function, aggregate.window, aggregate.where, aggregate.skip_nulls) == (name, None, None, True)
    assert repr(aggregate) == f"<{name} of amount>"


def test_a_count_of_rows_has_no_operand():
    aggregate = rows.count(window="1d")
    assert (aggregate.function, aggregate.operand, repr(aggregate)) == ("count", None, "<count of rows over 1d>")


@pytest.mark.parametrize("value", [True, 1, 1.0, "1", -(2**63), 2**63 - 1, 0.1, -0.0, 5e-324, "größer 🛫"])
def test_a_constant_keeps_its_type_and_value(value):
    again = stored((rows["a"] == value).last()).operand.right
    assert isinstance(again, Constant)
    assert (type(again.value), repr(again.value)) == (type(value), repr(value))


def test_operands_can_be_in_sets_and_are_told_apart():
    assert len({Column("a"), Column("a")}) == 2  # by identity: equality makes an expression
