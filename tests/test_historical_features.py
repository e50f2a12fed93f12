"""Historical features: the workspace's answers against the rule in plain Python."""

from datetime import date, timedelta

import polars as pl
import pytest
from conftest import START, at, shop
from fuzzing import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from inside import context_of
from oracle import Row, oracle_latest, oracle_window

import tinymlops as tm
from tinymlops.errors import DataError, DefinitionError, NotFoundError

MINUTE = 60_000_000
FUNCTIONS = ("count", "sum", "mean", "min", "max", "var", "std", "n_unique", "time_since_last")
WINDOWS = {"1m": MINUTE, "5m": 5 * MINUTE, "1h": 60 * MINUTE}

orders_strategy = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", None]),
        st.integers(0, 12),  # event minute
        st.integers(0, 6),  # created minutes later
        st.integers(0, 3),  # id
        st.one_of(st.none(), st.integers(-20, 20), st.sampled_from([0.1, 1e16, -1e16])),
    ),
    max_size=14,
)
spine_strategy = st.lists(st.tuples(st.sampled_from(["a", "b", "c", None]), st.integers(0, 20)), max_size=8)


def frame_of(rows):
    return pl.DataFrame(
        {
            "customer": [row[0] for row in rows],
            "at": [START + timedelta(minutes=row[1]) for row in rows],
            "made": [START + timedelta(minutes=row[1] + row[2]) for row in rows],
            "order": [row[3] for row in rows],
            "amount": [None if row[4] is None else float(row[4]) for row in rows],
        },
        schema={
            "customer": pl.String,
            "at": pl.Datetime("us", "UTC"),
            "made": pl.Datetime("us", "UTC"),
            "order": pl.Int64,
            "amount": pl.Float64,
        },
    )


def every_feature(orders):
    amount = orders["amount"]
    features = {"newest": amount.last(), "known": amount.last(skip_nulls=True), "oldest": amount.first()}
    for window in WINDOWS:
        features[f"n_{window}"] = orders.count(window=window)
        for function in FUNCTIONS:
            features[f"{function}_{window}"] = getattr(amount, function)(window=window)
        features[f"quantile_{window}"] = amount.quantile(0.3, window=window)
        features[f"big_{window}"] = amount.sum(window=window, where=amount > 3)
        features[f"share_{window}"] = (amount * 2 > 6).mean(window=window)
        features[f"any_{window}"] = (amount > 3).any(window=window)
        features[f"all_{window}"] = (amount > 3).all(window=window)
        features[f"last_{window}"] = amount.last(window=window)
        features[f"first_{window}"] = amount.first(window=window, skip_nulls=True)
        features[f"waiters_{window}"] = orders["customer"].n_unique(window=window, where=amount > 3)
    return features


def stored(ws, *, ids, created, delay=0):
    """The oracle's rows, from what history holds."""
    from tinymlops.features.history.stored import stored_rows

    rows = []
    for row in stored_rows(context_of(ws), "orders").iter_rows(named=True):
        available = row["__event"] + delay
        rows.append(
            {
                "key": row["customer"],
                "id": row["order"] if ids else None,
                "e": row["__event"],
                "available": max(available, row["__created"]) if created else available,
                "c": row["__created"] if created else -(2**63),
                "n": row["__sequence"],
                "deleted": row["__deleted"],
                "value": row["amount"],
            }
        )
    return rows


@pytest.mark.filterwarnings("ignore:.*is not unique in what was read")
@pytest.mark.parametrize(("ids", "created"), [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.filterwarnings("ignore:.*is not unique in what was read")
def test_every_expression_is_what_the_rule_says(tmp_path_factory, ids, created):
    options = (
        ({"id": "order"} if ids else {}) | ({"created": "made"} if created else {"known": "latest"}) | {"delay": "30s"}
    )

    @examples(15, heavy=True, suppress_health_check=list(HealthCheck))
    @given(orders_strategy, orders_strategy, spine_strategy)
    def check(first, second, wanted):
        path = tmp_path_factory.mktemp("ws") / "shop.tm"
        project = shop(frame_of(first), order_options=options, features=every_feature, ttl="10m")
        with tm.connect(path, create=True) as ws:
            ws.apply(project)
            ws.ingest("orders")
            project.frames["orders"] = frame_of(first + second)
            ws.ingest("orders")
            spine = pl.DataFrame(
                {
                    "customer": [customer for customer, _ in wanted],
                    "timestamp": [START + timedelta(minutes=minute) for _, minute in wanted],
                },
                schema={"customer": pl.String, "timestamp": pl.Datetime("us", "UTC")},
            )
            got = ws.get_historical_features(spine, ["spending"])
            rows = stored(ws, ids=ids, created=created, delay=MINUTE // 2)
        assert got.height == spine.height
        for answer in got.iter_rows(named=True):
            t = int(answer["timestamp"].timestamp() * 1_000_000)
            assert_follows_the_rule(answer, rows, t)

    check()


def assert_follows_the_rule(answer, rows, t):
    key, ttl = answer["customer"], 10 * MINUTE
    plain = [Row(keep=True, **row) for row in rows]
    valued = [Row(keep=row["value"] is not None, **row) for row in rows]
    big = [Row(keep=row["value"] is not None and row["value"] > 3, **row) for row in rows]
    for name, kept, oldest in (("newest", plain, False), ("known", valued, False), ("oldest", plain, True)):
        winner = oracle_latest(kept, key, t, strict=False, ttl=ttl, window=None, oldest=oldest)
        assert answer[name] == (None if winner is None else winner.value), (name, answer)
    flags = [Row(keep=True, **{**row, "value": None if row["value"] is None else row["value"] > 3}) for row in rows]
    everything = [Row(keep=True, **{**row, "value": 0}) for row in rows]
    for label, window in WINDOWS.items():
        assert answer[f"n_{label}"] == oracle_window("count", everything, key, t, window)
        for function in FUNCTIONS:
            assert answer[f"{function}_{label}"] == oracle_window(function, plain, key, t, window), (function, answer)
        assert answer[f"quantile_{label}"] == oracle_window("quantile", plain, key, t, window, 0.3)
        assert answer[f"big_{label}"] == oracle_window("sum", big, key, t, window)
        for name, function in (("share", "mean"), ("any", "any"), ("all", "all")):
            assert answer[f"{name}_{label}"] == oracle_window(function, flags, key, t, window), name
        for name, kept, oldest in (("last", plain, False), ("first", valued, True)):
            winner = oracle_latest(kept, key, t, strict=True, window=window, oldest=oldest)
            assert answer[f"{name}_{label}"] == (None if winner is None else winner.value), (name, answer)
        assert answer[f"waiters_{label}"] == min(1, oracle_window("count", big, key, t, window))


EDGES = {
    "zeros": ([0.0, -0.0, None, float("nan")], {"n_unique": 1, "count": 2, "sum": 0.0, "min": 0.0, "max": 0.0}),
    "texts": (["a", "b", "a", None], {"n_unique": 2, "count": 3}),
    "lists": ([[1], [1, 2], [1], None], {"n_unique": 2, "count": 3}),
    "days": ([date(2024, 1, 1), date(2024, 1, 2), date(2024, 1, 1), None], {"n_unique": 2, "count": 3}),
    "flags": ([True, False, True, None], {"any": True, "all": False, "sum": 2, "mean": 2 / 3, "n_unique": 2}),
    "none": ([None, None, None, None], {"count": 0, "sum": 0, "any": False, "all": True, "n_unique": 0, "min": None}),
}


@pytest.mark.parametrize("case", EDGES)
def test_values_of_any_type_are_counted(workspace, case):
    values, expected = EDGES[case]
    orders = pl.DataFrame({"customer": ["a"] * 4, "at": [at(1), at(2), at(3), at(4)], "amount": values}, strict=False)
    project = shop(
        orders, features=lambda rows: {name: getattr(rows["amount"], name)(window="1d") for name in expected}
    )
    for name in ("visits_to_orders", "buys"):  # whose label is of numbers
        del project.definitions[name]
    workspace.apply(project)
    workspace.ingest("orders")
    spine = pl.DataFrame({"customer": ["a"], "timestamp": [at(9)]})
    got = workspace.get_historical_features(spine, ["spending"])
    assert got.select(*expected).to_dicts() == [expected]


@pytest.mark.parametrize(
    ("amounts", "feature", "message"),
    [
        ([2**62, 2**62], lambda rows: rows["amount"].sum(window="1d"), "sum 'x' over 1d.*spine row 1, time 2024"),
        ([1.7e308, 1.7e308], lambda rows: rows["amount"].mean(window="1d"), "mean 'x' over 1d.*spine row 1, time 2024"),
    ],
)
def test_what_cannot_be_computed_says_where(workspace, amounts, feature, message):
    orders = pl.DataFrame({"customer": ["a", "a"], "at": [at(1), at(2)], "amount": amounts})
    workspace.apply(shop(orders, features=lambda rows: {"x": feature(rows)}))
    workspace.ingest("orders")
    spine = pl.DataFrame({"customer": ["b", "a"], "timestamp": [at(9), at(9)]})
    with pytest.raises(DataError, match=message):
        workspace.get_historical_features(spine, ["spending"])


@pytest.mark.parametrize(
    ("amounts", "feature", "kind", "message"),
    [
        (
            [1, 3],
            lambda rows: (rows["amount"] * 2**62).sum(window="1d"),
            DataError,
            "row 1 of source 'orders'.*64 bits",
        ),
        (["x", "y"], lambda rows: rows["amount"].max(window="1d"), DefinitionError, "needs numbers and got String"),
        ([1.0, 2.0], lambda rows: rows["amount"].any(window="1d"), DefinitionError, "true or false and got Float64"),
    ],
)
def test_what_can_never_be_computed_is_refused_at_ingest(workspace, amounts, feature, kind, message):
    orders = pl.DataFrame({"customer": ["a", "a"], "at": [at(1), at(2)], "amount": amounts})
    workspace.apply(shop(orders, features=lambda rows: {"x": feature(rows)}))
    with pytest.raises(kind, match=message):
        workspace.ingest("orders")


def small_shop(ws):
    orders = pl.DataFrame({"customer": ["a", "a"], "at": [at(1), at(2)], "amount": [1.0, None]})
    project = shop(orders)
    ws.apply(project)
    ws.ingest("orders")
    return project


def test_features_come_in_declared_order_and_rows_in_the_spines(workspace):
    small_shop(workspace)
    spine = pl.DataFrame({"customer": ["z", "a", "a"], "timestamp": [at(9), at(2), at(1)]})
    got = workspace.get_historical_features(spine, ["spending"])
    assert got.columns == ["customer", "timestamp", "last_amount", "spent_1d"]
    assert got.rows()[0][2:] == (None, 0.0)
    assert got["last_amount"].to_list() == [None, None, 1.0]


def test_details_say_why_a_cell_is_null(workspace):
    small_shop(workspace)
    spine = pl.DataFrame({"customer": ["z", "a", "a", None], "timestamp": [at(9), at(2), at(1), at(1)]})
    got = workspace.get_historical_features(spine, ["spending:last_amount"], details=True)
    assert got["last_amount_status"].to_list() == ["NOT_FOUND", "NULL_VALUE", "PRESENT", "NULL_KEY"]
    assert got["last_amount_event_time"].to_list() == [None, at(2), at(1), None]


def test_a_row_wins_its_spine_time_but_not_its_window(workspace):
    small_shop(workspace)
    spine = pl.DataFrame({"customer": ["a"], "timestamp": [at(1)]})
    got = workspace.get_historical_features(spine, ["spending"])
    assert got.row(0)[2:] == (1.0, 0.0)


@pytest.mark.parametrize(
    ("spine", "features", "error", "message"),
    [
        ({"customer": ["a"], "when": [at(1)]}, ["spending"], DataError, "no time column 'timestamp'"),
        ({"custmer": ["a"], "timestamp": [at(1)]}, ["spending"], DataError, "did you mean 'custmer'"),
        ({"customer": [1], "timestamp": [at(1)]}, ["spending"], DataError, "customer"),
        ({"customer": ["a"], "timestamp": [None]}, ["spending"], DataError, "timestamp"),
        ({"customer": ["a"], "timestamp": [at(1).replace(tzinfo=None)]}, ["spending"], DataError, "zone"),
        ({"customer": ["a"], "timestamp": [at(1)]}, ["spendin"], NotFoundError, "did you mean 'spending'"),
        ({"customer": ["a"], "timestamp": [at(1)]}, ["spending:spent"], NotFoundError, "did you mean 'spent_1d'"),
        ({"customer": ["a"], "timestamp": [at(1)], "spent_1d": [1]}, ["spending"], DataError, "another column"),
    ],
)
def test_a_wrong_request_says_what_to_do(workspace, spine, features, error, message):
    small_shop(workspace)
    with pytest.raises(error, match=message):
        workspace.get_historical_features(pl.DataFrame(spine), features)


def test_an_unknown_column_gets_its_near_match(workspace):
    orders = pl.DataFrame({"customer": ["a"], "at": [at(1)], "amount": [1.0]})
    workspace.apply(shop(orders, features=lambda rows: {"x": rows["amout"].last()}))
    with pytest.raises(DefinitionError, match="did you mean 'amount'"):
        workspace.ingest("orders")
