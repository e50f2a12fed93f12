"""Row expressions never wrap around and are never NaN or infinite, and say so: by an oracle, and through every door."""

import json
import math
import operator
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import polars as pl
import pytest
from conftest import at, shop
from hypothesis import given
from hypothesis import strategies as st
from litestar.testing import TestClient
from oracle import oracle_expression

import tinymlops as tm
from tinymlops.errors import DataError, DefinitionError
from tinymlops.features.compute.evaluating import TooGreatError, evaluate

rows = tm.Rows()

EDGES = [-(2**63), -(2**62), -(2**53) - 1, -2, -1, 0, 1, 2, 3, 2**31, 2**32, 2**53 + 1, 2**62, 2**63 - 1]
WHOLE = [operator.add, operator.sub, operator.mul, operator.floordiv, operator.mod]
COMPARISONS = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]
wide = st.sampled_from(EDGES) | st.integers(-(2**63), 2**63 - 1)
unsigned = st.sampled_from([0, 1, 2**63 - 1, 2**63, 2**64 - 1]) | st.integers(0, 2**64 - 1)
near = st.sampled_from([-(2.0**63), -(2.0**53), -0.5, 0.0, 0.5, 2.0**53, 2.0**62, 2.0**63, 2.0**64, 1e300])
columns = {"i": wide, "j": wide, "b": st.integers(0, 255), "x": near}
SCHEMA = {"i": pl.Int64, "j": pl.Int64, "b": pl.UInt8, "x": pl.Float64}
frames = st.integers(1, 5).flatmap(
    lambda n: st.fixed_dictionaries(
        {name: st.lists(st.none() | values, min_size=n, max_size=n) for name, values in columns.items()}
    )
)
integers = st.recursive(
    st.sampled_from([rows["i"], rows["j"], rows["b"]]),
    lambda inner: (
        st.builds(lambda a, b, f: f(a, b), inner, inner | wide, st.sampled_from(WHOLE))
        | st.builds(lambda a, f: f(a), inner, st.sampled_from([operator.neg, abs, lambda e: e.fill_null(300)]))
    ),
    max_leaves=5,
)


def wanted(expression, frame):
    """The oracle's values, or the first row that it cannot compute."""
    node, found = json.loads(msgspec.json.encode(expression)), []
    for place, row in enumerate(frame.iter_rows(named=True)):
        try:
            found.append(oracle_expression(node, row))
        except OverflowError:
            return place
    return found


@given(frames, integers)
def test_integers_are_exact_or_an_error_that_names_a_row(data, expression):
    frame = pl.DataFrame(data, schema=SCHEMA)
    expected = wanted(expression, frame)
    if isinstance(expected, int):
        with pytest.raises(TooGreatError) as info:
            evaluate(expression, frame)
        single = frame[info.value.args[0] : info.value.args[0] + 1]
        assert wanted(expression, single) == 0, "the row that is named is one that cannot be computed"
    else:
        assert evaluate(expression, frame).series.to_list() == expected


@given(frames, st.sampled_from(COMPARISONS))
def test_an_integer_is_compared_with_a_float_as_numbers_are(data, function):
    frame = pl.DataFrame(data, schema=SCHEMA)
    for expression in (function(rows["i"], rows["x"]), function(rows["x"], rows["i"]), function(rows["i"], 2.0**62)):
        assert evaluate(expression, frame).series.to_list() == wanted(expression, frame)


@given(st.lists(st.tuples(st.none() | unsigned, st.none() | wide), min_size=1), st.sampled_from(COMPARISONS))
def test_signed_and_unsigned_integers_are_compared_as_numbers_are(pairs, function):
    frame = pl.DataFrame(pairs, schema={"u": pl.UInt64, "i": pl.Int64}, orient="row")
    for expression in (function(rows["u"], rows["i"]), function(rows["u"], -1), function(rows["u"], rows["u"])):
        assert evaluate(expression, frame).series.to_list() == wanted(expression, frame)


def test_a_uint64_beyond_64_signed_bits_is_compared_and_not_computed_with():
    frame = pl.DataFrame({"u": [1, 2**63]}, schema={"u": pl.UInt64})
    assert evaluate(rows["u"] > 5, frame).series.to_list() == [False, True]
    with pytest.raises(TooGreatError) as info:
        evaluate(rows["u"] - 1, frame)
    assert info.value.args == (1,)


@pytest.mark.parametrize(
    ("expression", "values"),
    [
        (rows["b"] ** 2, [9, 40_000, None]),
        (rows["i"] ** 0, [1, 1, None]),
        (rows["b"] ** 0.5, [math.sqrt(3), math.sqrt(200), None]),
        (2 ** rows["b"], [8.0, 2.0**200, None]),
        (rows["b"] ** -1, [1 / 3, 1 / 200, None]),
        (~rows["b"], [-4, -201, None]),
        (rows["p"] + rows["p"], [2, 0, None]),
        (rows["p"] - 2, [-1, -2, None]),
    ],
    ids=str,
)
def test_powers_and_booleans_are_computed_as_integers_or_floats_by_their_definition(expression, values):
    schema = {"b": pl.UInt8, "i": pl.Int64, "p": pl.Boolean}
    frame = pl.DataFrame({"b": [3, 200, None], "i": [2**62, -1, None], "p": [True, False, None]}, schema=schema)
    found = evaluate(expression, frame).series
    assert found.to_list() == values
    single = [evaluate(expression, frame[i : i + 1]).series for i in range(3)]
    assert [one.item() for one in single] == values
    assert {one.dtype for one in single} == {found.dtype}


def test_a_power_that_does_not_fit_is_refused():
    with pytest.raises(TooGreatError):
        evaluate(rows["i"] ** 3, pl.DataFrame({"i": [2**21]}))
    assert evaluate(rows["i"] ** 3, pl.DataFrame({"i": [-(2**21)]})).series.to_list() == [-(2**63)]
    assert evaluate(rows["i"] ** 999, pl.DataFrame({"i": [-1, 0, 1]})).series.to_list() == [-1, 0, 1]


# NaN and infinities


@pytest.mark.parametrize(
    ("expression", "values", "lost"),
    [
        (rows["a"] / rows["b"], [None, None, 2.0, None], 2),
        (rows["a"] // rows["b"], [None, None, 2.0, None], 2),
        (rows["a"] % rows["b"], [None, None, 0.0, None], 2),
        ((rows["a"] / rows["b"]).fill_null(-1.0), [-1.0, -1.0, 2.0, -1.0], 2),
        ((rows["a"] / rows["b"]) > 5, [None, None, False, None], 2),
        (rows["b"].log(), [None, None, math.log(2.0), 0.0], 2),
        ((rows["a"] - 5).sqrt(), [None, None, None, None], 3),
        (rows["a"] * 1e308 * 10, [None, 0.0, None, None], 2),
        (rows["i"] / 0, [None] * 4, 3),
        (rows["i"] // rows["k"], [None, 2, None, None], 2),
        (rows["i"] % rows["k"], [None, 0, None, None], 2),
        (rows["d"] / rows["i"], [Decimal("1.50"), Decimal("0.50"), None, None], 1),
    ],
    ids=str,
)
def test_what_is_not_finite_is_null_and_counted(expression, values, lost):
    frame = pl.DataFrame(
        {"a": [1.0, 0.0, 4.0, None], "b": [0.0, 0.0, 2.0, 1.0], "i": [1, 2, 0, None], "k": [0, 1, 0, 0]}
    ).with_columns(d=pl.Series([Decimal("1.50"), Decimal(1), Decimal(2), None], dtype=pl.Decimal(10, 2)))
    found = evaluate(expression, frame)
    assert found.series.to_list() == values
    assert found.not_finite == lost


def ratios(materialized=True):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at")
    def orders() -> tm.Schema:
        return {"customer": str, "at": datetime, "a": float, "b": float, "n": int}

    @project.transformation(row_wise=True)
    def halves(orders: tm.Rows) -> str:
        return "select *, a / b as half from orders"

    @project.transformation(row_wise=True)
    def parts(orders: pl.LazyFrame) -> pl.LazyFrame:
        return orders.with_columns(part=pl.col("a") / pl.col("b"), parts=pl.concat_list(pl.col("a") / pl.col("b")))

    @project.feature_view(entity=customer)
    def rates(orders: tm.Rows) -> tm.Features:
        rate = orders["a"] / orders["b"]
        return {
            "newest": rate.last(),
            "known": rate.last(skip_nulls=True),
            "total": rate.sum(window="1d"),
            "n": rate.count(window="1d"),
            "greatest": rate.max(window="1d"),
            "of_sums": orders["a"].sum(window="1d") / orders["b"].sum(window="1d"),
        }

    @project.feature_view(entity=customer)
    def derived(halves: tm.Rows) -> tm.Features:
        return {"half": halves["half"].last()}

    @project.feature_view(entity=customer)
    def framed(parts: tm.Rows) -> tm.Features:
        return {"part": parts["part"].last(), "parts": parts["parts"].last()}

    @project.on_demand
    def asked(rates: tm.Inputs, weight: pl.Expr) -> dict[str, pl.Expr]:
        return {"weighed": rates["total"] / weight, "logged": rates["n"].cast(pl.Float64).log() * weight}

    return project


VIEWS = ["rates", "derived", "framed", "asked"]
PUSHED = [
    {"customer": "x", "at": at(0), "a": 4.0, "b": 2.0, "n": 1},
    {"customer": "x", "at": at(1), "a": 1.0, "b": 0.0, "n": 1},
    {"customer": "y", "at": at(0), "a": 0.0, "b": 0.0, "n": 1},
]
NULLS = {"newest": [None, None], "known": [2.0, None], "total": [2.0, 0.0], "n": [1, 0], "greatest": [2.0, None],
         "of_sums": [2.5, None], "half": [None, None], "part": [None, None], "parts": [[None], [None]],
         "weighed": [None, None], "logged": [0.0, None]}  # fmt: skip


@pytest.mark.parametrize("materialized", [False, True])
def test_a_quotient_by_zero_is_null_in_history_online_python_and_json(tmp_path, materialized):
    clock = tm.ReplayClock(at(2))
    with tm.connect(tmp_path / "shop.tm", create=True, clock=clock) as ws:
        ws.apply(ratios())
        if materialized:
            ws.materialize()
        ws.push("orders", PUSHED)
        clock.advance("1h")  # a window sees what was known before its end
        keys = {"customer": ["x", "y"], "weight": [0.0, 0.0]}
        online = ws.get_online_features(VIEWS, keys)
        assert online.to_dict() == {**keys, **NULLS}
        assert online.to_polars().select(list(NULLS)).to_dict(as_series=False) == NULLS
        spine = pl.DataFrame({**keys, "timestamp": [at(3)] * 2})
        assert ws.get_historical_features(spine, VIEWS).select(list(NULLS)).to_dict(as_series=False) == NULLS
        with TestClient(tm.create_app(ws), base_url="http://127.0.0.1:8000") as client:
            asked = {"features": VIEWS, "keys": [{"customer": c, "weight": 0.0} for c in "xy"]}
            answer = client.post("/v1/features/online", json=asked).json()
        assert [{name: row[name] for name in NULLS} for row in answer["rows"]] == [
            {name: values[place] for name, values in NULLS.items()} for place in range(2)
        ]


def test_a_build_counts_what_was_not_finite(workspace):
    orders = pl.DataFrame({"customer": ["a"] * 3, "at": [at(0), at(1), at(50)], "amount": [1.0, 0.0, 2.0]})
    visits = pl.DataFrame({"visit": [0], "customer": ["a"], "at": [at(2)]})
    features = {
        "rate": lambda rows: (1 / rows["amount"]).last(),
        "share": lambda rows: rows["amount"].sum(window="1h") / rows.count(window="30m"),
        "plain": lambda rows: rows["amount"].last(),
    }
    project = shop(orders, visits, features=lambda rows: {name: make(rows) for name, make in features.items()})
    project.frames["orders"] = pl.concat([orders, orders[:1].with_columns(at=pl.lit(at(3)), amount=3.0)])
    workspace.apply(project)
    workspace.ingest()
    data = workspace.get_training_data("visits_to_orders")
    assert data.report.not_finite == {"rate": 1, "share": 1}
    assert data.train.X.rows() == [(None, None, 0.0)]


# What does not fit is refused through every door


def pushed(dtype, make):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at")
    def orders() -> tm.Schema:
        return {"customer": str, "at": datetime, "a": dtype, "b": dtype}

    @project.transformation(row_wise=True)
    def same(orders: tm.Rows) -> str:
        return "select * from orders"

    @project.feature_view(entity=customer)
    def spending(same: tm.Rows) -> tm.Features:
        value = make(same)
        return {"last": value.last(), "sum": value.sum(window="90d"), "max": value.max(window="90d")}

    return project


@pytest.mark.parametrize("materialized", [False, True])
@pytest.mark.parametrize(
    ("dtype", "a", "b", "make", "value"),
    [
        (pl.UInt8, 3, 5, lambda r: r["a"] - r["b"], -2),
        (pl.UInt32, 3, 5, lambda r: r["a"] - r["b"], -2),
        (pl.Int8, 100, 100, lambda r: r["a"] + r["b"], 200),
        (pl.Int8, -128, 1, lambda r: -r["a"], 128),
        (pl.Int16, 300, 300, lambda r: r["a"] * r["b"], 90_000),
        (pl.Int32, 100_000, 100_000, lambda r: r["a"] * r["b"], 10**10),
        (pl.UInt64, 7, 9, lambda r: abs(r["a"] - r["b"]), 2),
    ],
)
def test_last_sum_and_max_of_narrow_integers_agree(tmp_path, materialized, dtype, a, b, make, value):
    clock = tm.ReplayClock(at(1))
    with tm.connect(tmp_path / "shop.tm", create=True, clock=clock) as ws:
        ws.apply(pushed(dtype, make))
        if materialized:
            ws.materialize()
        ws.push("orders", [{"customer": "x", "at": at(0), "a": a, "b": b}])
        clock.advance("1h")
        answer = ws.get_online_features(["spending"], [{"customer": "x"}]).to_polars().drop("customer")
        assert answer.rows() == [(value,) * 3]
        spine = pl.DataFrame({"customer": ["x"], "timestamp": [at(2)]})
        assert ws.get_historical_features(spine, ["spending"]).select("last", "sum", "max").rows() == [(value,) * 3]


def test_a_pushed_row_whose_expression_does_not_fit_is_refused_and_nothing_is_stored(tmp_path):
    with tm.connect(tmp_path / "shop.tm", create=True, clock=tm.ReplayClock(at(1))) as ws:
        ws.apply(pushed(int, lambda r: r["a"] + r["b"]))
        ws.materialize()
        fits = {"customer": "x", "at": at(0), "a": 1, "b": 2**62}
        with pytest.raises(DataError) as info:
            ws.push("orders", [fits, {**fits, "a": 2**62}])
        assert info.value.message == (
            "row 1 of source 'same' cannot be taken: <rows['a'] + rows['b']>, which spending:last reads, does not fit "
            "64 bits"
        )
        assert "float" in info.value.hint
        assert ws.push("orders", [fits]).online == "current"
        assert ws.get_online_features(["spending"], [{"customer": "x"}]).to_dict()["last"] == [2**62 + 1]


def test_rows_of_which_a_feature_does_not_fit_are_refused_at_ingest(workspace):
    orders = pl.DataFrame({"customer": ["a", "a"], "at": [at(1), at(2)], "amount": [1, 3]})
    workspace.apply(shop(orders, features=lambda rows: {"x": (rows["amount"] * 2**62).last()}))
    with pytest.raises(DataError, match="row 1 of source 'orders' cannot be taken.*which spending:x reads") as info:
        workspace.ingest("orders")
    assert "correct the row" in info.value.hint


def test_history_names_feature_source_and_row_of_what_does_not_fit(workspace):
    orders = pl.DataFrame({"customer": ["a", "a"], "at": [at(1), at(2)], "amount": [1, 3]})
    workspace.apply(shop(orders))
    workspace.ingest("orders")
    workspace.apply(shop(orders, features=lambda rows: {"x": (rows["amount"] * 2**62).last()}))
    spine = pl.DataFrame({"customer": ["a"], "timestamp": [at(9)]})
    with pytest.raises(DataError) as info:
        workspace.get_historical_features(spine, ["spending"])
    assert info.value.message == (
        "<rows['amount'] * 4611686018427387904> over source 'orders' in feature 'x' does not fit 64 bits in the row of "
        "2024-01-01T02:00:00+00:00"
    )


def test_a_row_without_a_key_that_does_not_fit_hinders_nobody(workspace):
    orders = pl.DataFrame({"customer": ["a", None], "at": [at(1), at(2)], "amount": [1, 3]})
    workspace.apply(shop(orders))
    workspace.ingest("orders")
    workspace.apply(shop(orders, features=lambda rows: {"x": (rows["amount"] * 2**62).last()}))
    spine = pl.DataFrame({"customer": ["a"], "timestamp": [at(9)]})
    assert workspace.get_historical_features(spine, ["spending"])["x"].to_list() == [2**62]


# Row functions


MOMENT = datetime(2024, 1, 1, 23, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        (rows["word"].is_in(["Sale", "x"]), True),
        (rows["word"].is_in([]), False),
        (rows["i"].is_in([1, 7]), True),
        (rows["i"].is_in([1.5]), False),
        (rows["kind"].is_in(["unheard of"]), False),
        (rows["i"].log(), math.log(7)),
        (rows["i"].log(10), math.log10(7)),
        (rows["i"].log1p(), math.log1p(7)),
        (rows["x"].floor(), -3.0),
        (rows["x"].ceil(), -2.0),
        (rows["i"].floor(), 7),
        (rows["word"].str.to_lowercase(), "sale"),
        (rows["word"].str.to_uppercase(), "SALE"),
        (rows["word"].str.len_chars(), 4),
        (rows["word"].str.contains("."), False),
        (rows["word"].str.contains("al"), True),
        (rows["word"].str.starts_with("Sa"), True),
        (rows["word"].str.ends_with("le"), True),
        (rows["kind"].str.to_uppercase(), "A"),
        (rows["t"].dt.year(), 2024),
        (rows["t"].dt.hour(), 23),
        (rows["t"].dt.weekday(), 1),
        (rows["t"].dt.convert_time_zone("Europe/Vienna").dt.hour(), 0),
        ((rows["t"] - rows["s"]).dt.total_seconds(), 90),
    ],
    ids=str,
)
def test_a_row_function_is_stored_and_gives_one_row_what_it_gives_many(expression, value):
    frame = pl.DataFrame(
        {"word": ["Sale", None], "i": [7, None], "x": [-2.5, None], "t": [MOMENT, None],
         "s": [MOMENT.replace(minute=28, second=30), None], "kind": pl.Series(["a", None], dtype=pl.Enum(["a", "b"]))}
    )  # fmt: skip
    again = msgspec.json.decode(msgspec.json.encode(expression.last()), type=type(expression.last())).operand
    many = evaluate(again, pl.concat([frame] * 1000)).series
    alone = evaluate(again, frame[:1]).series
    assert many.to_list() == [alone.item(), None] * 1000
    assert alone.item() == (pytest.approx(value, rel=1e-15) if isinstance(value, float) else value)
    assert alone.dtype == many.dtype
    assert not many.dtype.is_integer() or many.dtype == pl.Int64


def test_a_time_without_a_zone_cannot_be_converted(workspace):
    with pytest.raises(pl.exceptions.InvalidOperationError, match="needs a time with a zone"):
        evaluate(rows["t"].dt.convert_time_zone("UTC"), pl.DataFrame({"t": [datetime(2024, 1, 1)]}))


def test_a_median_is_the_half_quantile():
    assert repr(rows["amount"].median(window="7d")) == "<quantile 0.5 of amount over 7d>"
    assert rows["amount"].median(window="7d").q == 0.5


@pytest.mark.parametrize(
    ("write", "message", "hint"),
    [
        (lambda: rows["a"].rolling_mean(3), "expressions have no 'rolling_mean'", "is a transformation"),
        (lambda: rows["a"].weekday(), "expressions have no 'weekday'", "did you mean .dt.weekday()?"),
        (lambda: rows["a"].str.lower(), "expressions have no 'lower'", "transformation or an on-demand view"),
        (lambda: tm.Rows("orders").amount, "rows have no attribute 'amount'", 'orders["amount"]'),
        (lambda: rows["a"].is_in("abc"), "is_in('abc') names no values", '.is_in(["AA", "UA"])'),
        (lambda: rows["a"].is_in([None]), "None cannot be part", "numbers, strings and booleans"),
        (lambda: rows["a"].log(1), "1 cannot be the base", "positive number"),
        (lambda: rows["a"].str.contains(3), "3 is not text", ".str.contains"),
        (lambda: rows["a"].dt.convert_time_zone("Mars"), "there is no time zone 'Mars'", "IANA"),
        (lambda: list(rows["a"]), "cannot be iterated", "one value of each row"),
    ],
)
def test_what_expressions_do_not_have_is_answered_with_what_to_write(write, message, hint):
    with pytest.raises(DefinitionError) as info:
        write()
    assert message in info.value.message
    assert hint in info.value.hint


def test_a_missing_word_is_a_missing_attribute_to_python():
    assert not hasattr(rows["a"], "rolling_mean")
    assert not hasattr(tm.Rows(), "amount")
    assert getattr(rows["a"], "shape", "none") == "none"


@pytest.mark.parametrize("divide", [operator.truediv, operator.floordiv, operator.mod], ids=lambda one: one.__name__)
@pytest.mark.parametrize("dtype", [pl.Float64, pl.Float32, pl.Int64])
def test_a_division_by_a_constant_gives_one_row_what_it_gives_many(divide, dtype):
    values = pl.Series("x", [number * 0.1 for number in range(1, 500)]).cast(dtype).to_frame()
    for constant in (0.1, 7.3, 86_400):
        expression = divide(rows["x"], constant)
        many = evaluate(expression, values).series.to_list()
        assert many == [evaluate(expression, values[i : i + 1]).series.item() for i in range(values.height)]
        if divide is operator.truediv and dtype == pl.Float64:
            assert many == [divide(value, constant) for value in values["x"].to_list()]


def test_what_a_row_is_divided_by_in_polars_gives_one_row_what_it_gives_many(tmp_path):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at", id="order")
    def orders() -> tm.Schema:
        return {"order": int, "customer": int, "at": datetime, "amount": float}

    @project.transformation(row_wise=True)
    def shares(orders: tm.Rows) -> pl.LazyFrame:
        return orders.filter(pl.col("amount") > 0).with_columns(
            share=pl.col("amount") / 86_400, left=pl.col("amount") % 7.3
        )

    @project.feature_view(entity=customer)
    def spending(shares: tm.Rows) -> tm.Features:
        return {name: shares[name].last() for name in ("amount", "share", "left")}

    @project.on_demand
    def ratios(spending: tm.Inputs, basket: pl.Expr) -> dict[str, pl.Expr]:
        return {"part": spending["amount"] / 86_400, "whole": basket // 0.1}

    moments = [{"customer": number, "timestamp": at(9), "basket": number * 0.1} for number in range(1, 60)]
    names = ["amount", "share", "left", "part", "whole"]
    with tm.connect(tmp_path / "shop.tm", create=True, clock=lambda: at(9)) as ws:
        ws.apply(project)
        ws.materialize()
        for row in moments:  # a push of one row each, which the online store follows
            number = row["customer"]
            ws.push("orders", [{"order": number, "customer": number, "at": at(1), "amount": number * 7.3}])
        many = ws.get_historical_features(moments, ["spending", "ratios"]).select(names).to_dicts()
        for row, expected in zip(moments, many, strict=True):
            found = ws.get_historical_features([row], ["spending", "ratios"]).select(names).to_dicts()
            asked = [{name: row[name] for name in ("customer", "basket")}]
            online = ws.get_online_features(["spending", "ratios"], asked).to_polars().to_dicts()
            assert found == [expected]
            assert [{name: online[0][name] for name in names}] == [expected]
