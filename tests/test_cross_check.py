"""The same features in plain SQL, by DuckDB: range joins that share nothing with our kernels."""

from datetime import timedelta

import duckdb
import numpy as np
import polars as pl
import pytest
from conftest import START, shop
from fuzzing import cross_checks, running, scaled
from inside import context_of

import tinymlops as tm
from tinymlops.features.history.stored import stored_rows

ROWS, POINTS, KEYS = 3_000, 800, 40
SPAN = 20_000
"""Minutes that the rows lie in."""


def moments(minutes):
    return pl.Series([START + timedelta(minutes=int(minute)) for minute in minutes], dtype=pl.Datetime("us", "UTC"))


def orders_of(rng):
    """Rows with ties in event and created time, nulls, and ids that occur again; the row number settles ties."""
    event = rng.integers(0, SPAN, ROWS) // 7 * 7
    amount = rng.integers(-50, 50, ROWS)
    customer = rng.integers(0, KEYS, ROWS)
    return pl.DataFrame(
        {
            "customer": customer,
            "at": moments(event),
            "made": moments(event + rng.integers(0, 600, ROWS) // 50 * 50),
            "wait": pl.Series([timedelta(minutes=int(wait)) for wait in rng.integers(0, 90, ROWS)]),
            "order": customer * ROWS + rng.integers(0, ROWS // KEYS // 2, ROWS),  # an order stays with its customer
            "n": np.arange(ROWS),
            "amount": pl.Series(amount).cast(pl.Float64) / 4,  # sums of quarters are exact in any order
        }
    ).with_columns(amount=pl.when(pl.col("n") % 9 > 0).then("amount"))


def spine_of(rng):
    return pl.DataFrame(
        {"customer": rng.integers(0, KEYS + 5, POINTS), "timestamp": moments(rng.integers(0, SPAN + 2_000, POINTS))}
    )


def answer(sql, **tables):
    """Ask DuckDB; `spine` gets a row number, and its rows come back in order."""
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        for name, table in tables.items():
            connection.register(name, table.to_arrow())
        return connection.sql(sql).pl().sort("row").drop("row")


def assert_alike(found, expected):
    assert found.columns == expected.columns
    for name in found.columns:
        assert found[name].to_list() == expected[name].to_list(), name
    cross_checks[running()] += found.width


JOINS = [
    {},
    {"boundary": "<"},
    {"ttl": "12h"},
    {"ttl": "12h", "delay": "90m"},
    {"delay": "wait"},
    {"created": "made"},
    {"created": "made", "known": "latest", "ttl": "1d"},
    {"created": "made", "delay": "wait", "boundary": "<", "ttl": "18h"},
]


def winners(*, ttl=None, delay=None, created=None, known="event", boundary="<="):
    """The value of the greatest row that is available: `available` spelt out, ties by created time and row number."""
    wait = {None: "interval 0 minutes", "wait": "r.wait"}.get(delay, f"interval '{delay}'".replace("m'", " minutes'"))
    available = f"r.at + {wait}"
    if created and known == "event":
        available = f"greatest({available}, r.made)"
    young = (
        f"and s.timestamp - r.at <= interval '{ttl}'".replace("h'", " hours'").replace("d'", " days'") if ttl else ""
    )
    order = "r.at desc, r.made desc, r.n desc" if created else "r.at desc, r.n desc"
    return f"""
        select s.row, w.amount, w.n
        from spine s left join lateral (
            select r.amount, r.n from rows r
            where r.customer = s.customer and {available} {boundary} s.timestamp {young}
            order by {order} limit 1
        ) w on true"""


@pytest.mark.parametrize("options", JOINS, ids=lambda options: "-".join(map(str, options.values())) or "plain")
def test_a_join_is_what_sql_says(options):
    for seed in range(scaled(1)):
        rng = np.random.default_rng(seed)
        rows, spine = orders_of(rng), spine_of(rng)
        expected = answer(winners(**options), rows=rows, spine=spine.with_row_index("row"))
        unused = [name for name in ("made", "wait", "order") if name not in options.values()]
        found = tm.point_in_time_join(
            spine, rows.drop(unused), key="customer", timestamp="timestamp", feature_timestamp="at", **options
        )
        assert_alike(found.select("amount", "n"), expected)


WINDOWS = {"2h": "2 hours", "1d": "1 day", "7d": "7 days"}
AGGREGATES = ("count", "sum", "min", "max", "mean")


def every_feature(orders):
    amount = orders["amount"]
    features = {"newest": amount.last(), "oldest": amount.first(), "known": amount.last(skip_nulls=True)}
    for window in WINDOWS:
        features[f"rows_{window}"] = orders.count(window=window)
        features[f"big_{window}"] = orders.count(window=window, where=amount > 3)
        features[f"waited_{window}"] = amount.time_since_last(window=window)
        features[f"latest_{window}"] = amount.last(window=window)
        features |= {f"{name}_{window}": getattr(amount, name)(window=window) for name in AGGREGATES}
    return features


def windowed(label, interval):
    one = f"r.event < s.timestamp and r.event >= s.timestamp - interval '{interval}'"
    mine = f"from before r where r.row = s.row and {one}"
    null_as_zero = {"sum": "coalesce(sum(r.amount), 0)"}
    single = {
        f"rows_{label}": f"(select count(*) {mine})",
        f"big_{label}": f"(select count(*) {mine} and r.amount > 3)",
        f"waited_{label}": f"(select epoch(s.timestamp - max(r.event)) {mine} and r.amount is not null)",
        f"latest_{label}": f"(select r.amount {mine} order by r.event desc, r.c desc limit 1)",
    }
    for name in AGGREGATES:
        single[f"{name}_{label}"] = f"(select {null_as_zero.get(name, f'{name}(r.amount)')} {mine})"
    return single


def facts(op, *, ids, created):
    """The rows of each spine row's key that are known by its time (`<=`) or before it (`<`), in their last version then."""

    def known(r):
        delayed = f"{r}.at + interval '90 minutes'"
        return f"greatest({delayed}, {r}.made)" if created else delayed

    def version(r):
        return f"({r}.made, {r}.n)" if created else f"({r}.n)"

    sql = f"""select s.row, r.at as event, {version("r")} as c, r.amount
        from spine s join rows r on r.customer = s.customer and {known("r")} {op} s.timestamp"""
    if ids:
        sql += f""" and not exists (
            select 1 from rows o where o.customer = r.customer and o.order = r.order
            and {version("o")} > {version("r")} and {known("o")} {op} s.timestamp)"""
    return sql


def features_in_sql(**options):
    """Every feature as a subquery of its own."""
    young = "from by_now r where r.row = s.row and s.timestamp - r.event <= interval '2 days'"
    columns = {
        "newest": f"(select r.amount {young} order by r.event desc, r.c desc limit 1)",
        "oldest": f"(select r.amount {young} order by r.event, r.c limit 1)",
        "known": f"(select r.amount {young} and r.amount is not null order by r.event desc, r.c desc limit 1)",
    }
    for label, interval in WINDOWS.items():
        columns |= windowed(label, interval)
    listed = ", ".join(f"{sql} as {name}" for name, sql in columns.items())
    return f"with by_now as ({facts('<=', **options)}), before as ({facts('<', **options)}) select s.row, {listed} from spine s"


@pytest.mark.parametrize(("ids", "created"), [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.filterwarnings("ignore:.*is not unique in what was read")
def test_features_are_what_sql_says(tmp_path, ids, created):
    for seed in range(scaled(1)):
        rng = np.random.default_rng(100 + seed)
        rows, spine = orders_of(rng), spine_of(rng)
        options = {"delay": "90m"} | ({"id": "order"} if ids else {}) | ({"created": "made"} if created else {})
        with tm.connect(tmp_path / f"{seed}.tm", create=True) as ws:
            ws.apply(shop(rows, order_options=options, features=every_feature, ttl="2d"))
            ws.ingest("orders")
            found = ws.get_historical_features(spine, ["spending"])
            stored = stored_rows(context_of(ws), "orders").with_columns(n=pl.col("__sequence"))
        sql = features_in_sql(ids=ids, created=created)
        expected = answer(sql, rows=stored, spine=spine.with_row_index("row"))
        assert_alike(found.drop(spine.columns), expected)
