"""Features of a range of time without a spine, held to a plain-Python enumeration of keys and moments."""

from datetime import date, timedelta

import polars as pl
import pytest
from command_line import ask, refused, succeed, write_shop
from conftest import START, at, shop
from fuzzing import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from inside import context_of
from oracle import Row, oracle_latest, oracle_window

import tinymlops as tm
from tinymlops.errors import DataError, DefinitionError
from tinymlops.features.history.stored import stored_rows

MINUTE = 60_000_000
ORDERS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "é", None]),
        st.integers(0, 12),  # event minute
        st.one_of(st.none(), st.integers(0, 3)),  # id
        st.one_of(st.none(), st.integers(-9, 9)),
    ),
    max_size=12,
)
RANGES = st.tuples(st.integers(0, 14), st.integers(1, 10), st.sampled_from([None, 1, 3, 4]))


def minute(number):
    return START + timedelta(minutes=number)


def frame_of(rows):
    return pl.DataFrame(
        {
            "customer": [row[0] for row in rows],
            "at": [minute(row[1]) for row in rows],
            "order": [row[2] for row in rows],
            "amount": [row[3] for row in rows],
        },
        schema={
            "customer": pl.String,
            "at": pl.Datetime("us", "UTC"),
            "order": pl.Int64,
            "amount": pl.Int64,
        },
    )


def stored(ws, *, ids, delay):
    return [
        Row(
            key=row["customer"],
            id=row["order"] if ids else None,
            e=row["__event"],
            available=row["__event"] + delay,
            c=row["__created"] if row["__created"] is not None else -(2**63),
            n=row["__sequence"],
            deleted=row["__deleted"],
            value=row["amount"],
        )
        for row in stored_rows(context_of(ws), "orders").iter_rows(named=True)
    ]


def final(rows):
    """The version of each event that stands, and what has no id."""
    return [
        row
        for row in rows
        if row.key is not None
        and (row.id is None or all((o.c, o.n) <= (row.c, row.n) for o in rows if o.id == row.id))
        and not (row.deleted and row.id is not None)
    ]


def expected_pairs(rows, start, end, every):
    stands = final(rows)
    if every is None:
        return sorted({(row.e, row.key) for row in stands if start <= row.e < end})
    keys = {row.key for row in stands}
    moments = range(start, end, every)
    return [(t, key) for t in moments for key in sorted(keys) if any(r.key == key and r.e <= t for r in stands)]


@pytest.mark.filterwarnings("ignore:.*is not unique in what was read")
@pytest.mark.parametrize("ids", [False, True])
@pytest.mark.parametrize("delay", [0, 2])
def test_a_range_is_every_key_and_moment_that_plain_python_finds(tmp_path_factory, ids, delay):
    options = ({"id": "order"} if ids else {}) | {"known": "latest"} | ({"delay": f"{delay}m"} if delay else {})

    @examples(12, heavy=True, suppress_health_check=list(HealthCheck))
    @given(ORDERS, ORDERS, RANGES)
    def check(first, second, asked):
        path = tmp_path_factory.mktemp("ws") / "shop.tm"
        features = {"newest": lambda r: r["amount"].last(), "spent": lambda r: r["amount"].sum(window="5m")}
        project = shop(
            frame_of(first),
            order_options=options,
            features=lambda rows: {name: make(rows) for name, make in features.items()},
        )
        first_minute, length, step = asked
        start, end = minute(first_minute), minute(first_minute + length)
        with tm.connect(path, create=True) as ws:
            ws.apply(project)
            ws.ingest("orders")
            project.frames["orders"] = frame_of(first + second)
            ws.ingest("orders")
            every = None if step is None else f"{step}m"
            got = ws.get_historical_features(features=["spending"], start=start, end=end, every=every)
            rows = stored(ws, ids=ids, delay=delay * MINUTE)
        micros = [int((moment - minute(0)).total_seconds()) * 1_000_000 for moment in (start, end)]
        base = int(START.timestamp()) * 1_000_000
        step_micros = None if step is None else step * MINUTE
        pairs = expected_pairs(rows, base + micros[0], base + micros[1], step_micros)
        assert [(round(t.timestamp() * 1e6), key) for t, key in got.select("timestamp", "customer").rows()] == pairs
        for row in got.iter_rows(named=True):
            t = round(row["timestamp"].timestamp() * 1e6)
            winner = oracle_latest(rows, row["customer"], t, strict=False)
            assert row["newest"] == (None if winner is None else winner.value)
            assert row["spent"] == oracle_window("sum", rows, row["customer"], t, 5 * MINUTE)

    check()


@pytest.mark.filterwarnings("ignore:.*is not unique in what was read")
def test_an_event_that_moved_counts_once_beside_a_row_without_an_id(workspace):
    rows = [("a", 0, None, 1), ("b", 0, 7, 2), ("b", 1, 7, 3)]
    project = shop(frame_of(rows), order_options={"id": "order", "known": "latest"})
    workspace.apply(project)
    workspace.ingest("orders")
    got = workspace.get_historical_features(features=["spending"], start=minute(0), end=minute(5))
    assert got.select("customer", "timestamp").rows() == [("a", minute(0)), ("b", minute(1))]
    assert workspace.sql("SELECT count(*) FROM orders").item() == 2


@pytest.mark.parametrize(("options", "moments"), [({"id": "order"}, [2]), ({}, [1, 2, 4])])
def test_deletes_count_as_changes_only_where_they_name_no_event(workspace, options, moments):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at", **options)
    def orders() -> tm.Schema:
        return {"customer": str, "order": int, "at": "Datetime[us, UTC]", "amount": int}

    @project.feature_view(entity=customer)
    def spending(orders: tm.Rows) -> tm.Features:
        return {"newest": orders["amount"].last()}

    workspace.apply(project)
    workspace.push("orders", [{"customer": "a", "order": n, "at": at(n), "amount": n} for n in (1, 2)])
    gone = at(1) if options else at(4)
    workspace.push("orders", [{"customer": "a", "order": 1, "at": gone, "amount": None, "deleted": True}])
    long = {"start": at(0), "end": at(9), "features": ["spending"]}
    got = workspace.get_historical_features(**long)
    assert got["timestamp"].to_list() == list(map(at, moments))
    assert workspace.get_historical_features(**long, as_of=2)["timestamp"].to_list() == [at(1), at(2)]


def two_views(orders, prices, *, of="customer"):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")
    shopkeeper = project.entity("keeper", key="keeper")

    @project.source(timestamp="at")
    def orders_() -> pl.DataFrame:
        return orders

    @project.source(static=True, keys={"customer": "who", "keeper": "who"})
    def people() -> pl.DataFrame:
        return prices

    @project.feature_view(entity=customer)
    def spending(orders_: tm.Rows) -> tm.Features:
        return {"newest": orders_["amount"].last()}

    @project.feature_view(entity=customer if of == "customer" else shopkeeper)
    def profile(people: tm.Rows) -> tm.Features:
        return {"age": people["age"].last()}

    @project.on_demand
    def clock(timestamp: pl.Expr) -> dict[str, pl.Expr]:
        return {"hour": timestamp.dt.hour()}

    @project.on_demand
    def room(budget: pl.Expr) -> dict[str, pl.Expr]:
        return {"left": budget - 1}

    return project


def ready(ws, **options):
    kinds = pl.Enum(["a", "b"])
    orders = pl.DataFrame({"customer": pl.Series(["a", "b"], dtype=kinds), "at": [at(1), at(30)], "amount": [1.0, 2.0]})
    ws.apply(two_views(orders, pl.DataFrame({"who": ["a", "c"], "age": [7, 8]}), **options))
    ws.ingest()


def test_static_rows_give_keys_to_a_grid_and_no_moment_of_their_own(workspace):
    ready(workspace)
    range_ = {"start": date(2024, 1, 1), "end": "2024-01-03", "tz": "UTC"}
    got = workspace.get_historical_features(features=["spending", "profile", "clock"], **range_)
    assert got.select("customer", "timestamp", "newest", "age", "hour").rows() == [
        ("a", at(1), 1.0, 7, 1),
        ("b", at(30), 2.0, None, 6),
    ]
    grid = workspace.get_historical_features(features=["spending", "profile"], every="1d", **range_)
    assert grid.select("customer", "timestamp", "newest", "age").rows() == [
        ("a", at(0), None, 7),
        ("c", at(0), None, 8),
        ("a", at(24), 1.0, 7),
        ("c", at(24), None, 8),
    ]
    assert workspace.get_historical_features(features=["profile"], **range_).height == 0


def test_an_empty_range_has_the_columns_and_no_rows(workspace):
    ready(workspace)
    got = workspace.get_historical_features(features=["spending"], start=at(100), end=at(101), details=True)
    assert got.columns == ["customer", "timestamp", "newest", "newest_status", "newest_event_time"]
    assert got.height == 0


def test_a_view_in_a_role_has_the_key_of_its_role(workspace):
    ready(workspace)
    role = two_views(None, None).definitions["spending"].on("friend", prefix="friend_")
    got = workspace.get_historical_features(features=[role], start=at(0), end=at(9), timestamp="when")
    assert got.rows(named=True) == [{"friend": "a", "when": at(1), "friend_newest": 1.0}]


@pytest.mark.parametrize(
    ("features", "options", "error", "message"),
    [
        (["spending"], {}, DefinitionError, "without a spine a range of time is needed"),
        (["spending"], {"start": at(1)}, DefinitionError, "with both ends"),
        (["spending"], {"every": "1d"}, DefinitionError, "with both ends"),
        (["spending"], {"start": at(1), "end": at(1)}, DefinitionError, "is not before"),
        (["spending"], {"start": "2024-01-01", "end": "2024-01-02"}, DataError, "has no time zone"),
        (["spending"], {"start": at(1), "end": at(2), "every": "0s"}, DefinitionError, "longer than zero"),
        (
            ["spending"],
            {"start": at(1), "end": at(900), "every": "1us"},
            DataError,
            "make every= longer|rows of 1 keys",
        ),
        (["spending", "profile"], {"start": at(1), "end": at(2)}, DefinitionError, "have different keys"),
        (["spending", "room"], {"start": at(1), "end": at(2)}, DefinitionError, "needs request fields .budget."),
        (["clock"], {"start": at(1), "end": at(2)}, DefinitionError, "no feature view is asked for"),
        (["spending"], {"start": at(1), "end": at(2), "timestamp": "customer"}, DataError, "is a key column"),
        (["spending"], {"start": at(1), "end": at(2), "timestamp": "newest"}, DataError, "name of another column"),
        (
            ["spending"],
            {"start": at(1), "end": at(2), "spine": pl.DataFrame({"customer": ["a"], "timestamp": [at(1)]})},
            DefinitionError,
            "a spine says itself",
        ),
    ],
)
def test_a_range_that_cannot_be_is_refused(workspace, features, options, error, message):
    ready(workspace, of="keeper")
    with pytest.raises(error, match=message):
        workspace.get_historical_features(features=features, **options)


def test_the_command_line_reads_a_range(tmp_path):
    folder = write_shop(tmp_path / "shop")
    tm.connect(folder / "shop.tm", create=True).close()
    succeed("apply", "--project", folder)
    succeed("ingest", "--project", folder)
    ask_for = ["features", "historical", "spending:last_amount", "--project", folder]
    told = ask(*ask_for, "--start", "2024-01-03T00:00:00Z", "--end", "2024-01-05", "--tz", "UTC")
    assert [(row["customer_id"], row["last_amount"]) for row in told["rows"]] == [(1, 2.5), (1, 3.5), (3, 7.5)]
    told = ask(*ask_for, "--start", "2024-01-03", "--end", "2024-01-05", "--tz", "UTC", "--every", "12h")
    assert [row["last_amount"] for row in told["rows"] if row["customer_id"] == 1] == [2.5, 2.5, 3.5, 3.5]
    assert "with both ends" in refused(3, *ask_for, "--start", "2024-01-03T00:00:00Z")
