"""Online reads: the same answer as history, from the online store."""

from datetime import datetime, timedelta

import polars as pl
import pytest
from conftest import START, at, shop
from fuzzing import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from inside import clock_of, context_of, database_of, online_of, set_clock
from oracle import oracle_aggregate
from test_historical_features import every_feature, frame_of, orders_strategy

import tinymlops as tm
from tinymlops.errors import DataError
from tinymlops.features.online import reading as online
from tinymlops.features.online import variants
from tinymlops.features.online.kernel_calls import warm_up
from tinymlops.kernels.online import cells
from tinymlops.stores.generation import begin_change

CUSTOMERS = ["a", "b", "c", None]


@pytest.mark.parametrize(("ids", "created"), [(False, False), (True, True)])
@pytest.mark.parametrize("ttl", [None, "3m"])
def test_an_online_answer_is_the_historical_one(tmp_path_factory, monkeypatch, ids, created, ttl):
    options = ({"id": "order"} if ids else {}) | ({"created": "made"} if created else {}) | {"delay": "30s"}
    monkeypatch.setattr(online, "view_columns", None)  # an online read must not fall back to history

    @examples(15, heavy=True, suppress_health_check=list(HealthCheck))
    @given(orders_strategy, st.integers(0, 15), st.integers(1, 15))
    def check(rows, minute, later):
        clock = tm.ReplayClock(START + timedelta(days=1))
        project = shop(frame_of(rows), order_options=options, features=every_feature, ttl=ttl)
        with tm.connect(tmp_path_factory.mktemp("ws") / "shop.tm", create=True, clock=clock) as ws:
            ws.apply(project)
            ws.ingest("orders")
            now = tm.ReplayClock(START + timedelta(minutes=minute))
            set_clock(ws, now)
            (state,) = ws.materialize()
            for _ in range(2):
                read = ws.get_online_features(["spending"], {"customer": CUSTOMERS}, details=True)
                spine = pl.DataFrame({"customer": CUSTOMERS, "timestamp": [now()] * 4})
                history = ws.get_historical_features(spine, ["spending"], details=True)
                assert read.to_polars().equals(history.drop("timestamp"))
                assert (read.timestamp, read.sequence) == (now(), state.sequence)
                now.advance(timedelta(minutes=later))

    check()


pushed_row = st.tuples(
    st.sampled_from(["a", "b"]),
    st.integers(-8, 4),  # event, minutes from the clock
    st.integers(0, 4),  # id
    st.one_of(st.none(), st.integers(-20, 20), st.sampled_from([0.1, 1e16, -1e16])),
    st.sampled_from([False, False, False, True]),
)
ingested_row = st.tuples(
    st.sampled_from(["a", "b", None]),
    st.integers(0, 30),  # event minute
    st.integers(0, 6),  # created minutes later
    st.integers(0, 4),  # id
    st.one_of(st.none(), st.integers(-20, 20)),
)
operation = st.one_of(
    st.tuples(st.just("push"), st.lists(pushed_row, min_size=1, max_size=4)),
    st.tuples(st.sampled_from(["ingest", "ingest in full"]), st.lists(ingested_row, max_size=6)),
    st.tuples(st.just("materialize"), st.none()),
    st.tuples(st.just("step"), st.integers(1, 12)),
)


def everything_follows(frames, *, ids, created, windows):
    """Orders that are ingested, clicks that are pushed, and views over both and over a row-wise transformation."""
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")
    options = {"delay": "30s"} | ({"created": "made"} if created else {})

    @project.source(timestamp="at", id="order", **options)
    def orders() -> pl.DataFrame:
        return frames["orders"]

    @project.source(timestamp="at", delay="30s", **({"id": "click"} if ids else {}))
    def clicks() -> tm.Schema:
        return {"click": int, "customer": str, "at": datetime, "amount": float}

    @project.transformation(row_wise=True)
    def large_clicks(clicks: pl.LazyFrame) -> pl.LazyFrame:
        return clicks.filter(pl.col("amount").abs() > 3).with_columns(amount=pl.col("amount") * 2)

    @project.feature_view(entity=customer, ttl="20m")
    def spending(orders: tm.Rows) -> tm.Features:
        return every_feature(orders)

    @project.feature_view(entity=customer)
    def clicking(clicks: tm.Rows) -> tm.Features:
        features = every_feature(clicks).items()
        return {f"click_{name}": feature for name, feature in features if windows or feature.window is None}

    @project.feature_view(entity=customer, ttl="4m")
    def newest(clicks: tm.Rows) -> tm.Features:
        return {
            "state_a": clicks["amount"].last(),
            "state_n": clicks["click"].last(),
            "state_b": clicks["amount"].first(),
        }

    @project.feature_view(entity=customer)
    def shouting(large_clicks: tm.Rows) -> tm.Features:
        loudest = {"loudest": large_clicks["amount"].max(window="5m")} if windows else {}
        return {**loudest, "first_loud": large_clicks["amount"].first()}

    return project


def orders_frame(rows):
    """One version of each order: a table that shows only the present."""
    return frame_of(list({row[3]: row for row in rows}.values()))


def perform(ws, frames, clock, name, argument, *, deletes):
    if name == "push":
        ws.push(
            "clicks",
            [
                {
                    "click": n,
                    "customer": c,
                    "at": clock() + timedelta(minutes=m),
                    "amount": v,
                    "deleted": deletes and deleted,
                }
                for c, m, n, v, deleted in argument
            ],
        )
    elif name == "materialize":
        ws.materialize()
    elif name == "step":
        clock.advance(timedelta(minutes=argument))
    else:
        frames["orders"] = orders_frame(argument)
        ws.ingest("orders", full=name == "ingest in full")


def assert_online_is_history(ws, clock, views):
    read = ws.get_online_features(views, {"customer": CUSTOMERS}, details=True)
    spine = pl.DataFrame({"customer": CUSTOMERS, "timestamp": [clock()] * 4})
    history = ws.get_historical_features(spine, views, details=True)
    assert read.to_polars().equals(history.drop("timestamp"))
    assert read.sequence <= database_of(ws).sequence()
    for view in views:  # a view alone may be read without the kernel
        alone = ws.get_online_features([view], {"customer": CUSTOMERS})
        assert repr(alone.to_dict()) == repr(alone.to_polars().to_dict(as_series=False))


# Deletes without an id are refused where a window reads the source, so the two never occur together.
@pytest.mark.parametrize("full", [2, 512])
@pytest.mark.parametrize(
    ("ids", "created", "windows", "deletes"),
    [(True, True, True, True), (True, False, True, True), (False, True, True, False), (False, False, False, True)],
)
def test_online_is_history_whatever_happens(tmp_path_factory, monkeypatch, ids, created, windows, deletes, full):
    monkeypatch.setattr(online, "view_columns", None)  # an online read must not fall back to history
    monkeypatch.setattr(variants, "FULL", full)

    @examples(5, heavy=True, suppress_health_check=list(HealthCheck))
    @given(st.lists(operation, max_size=12))
    def check(operations):
        clock = tm.ReplayClock(START + timedelta(minutes=5))
        frames = {"orders": orders_frame([])}
        with tm.connect(tmp_path_factory.mktemp("ws") / "shop.tm", create=True, clock=clock) as ws:
            ws.apply(everything_follows(frames, ids=ids, created=created, windows=windows))
            ws.ingest()
            ws.materialize()
            for name, argument in operations:
                perform(ws, frames, clock, name, argument, deletes=deletes)
                assert_online_is_history(ws, clock, ["spending", "clicking", "newest", "shouting"])

    check()


def test_a_late_row_from_before_a_delete_is_not_the_first(tmp_path):
    """Found by the test above: the delete itself wins nothing, and must stay for late rows."""
    clock = tm.ReplayClock(START + timedelta(minutes=5))
    with tm.connect(tmp_path / "shop.tm", create=True, clock=clock) as ws:
        frames = {"orders": orders_frame([])}
        ws.apply(everything_follows(frames, ids=False, created=False, windows=False))
        ws.ingest()
        ws.materialize()
        perform(ws, frames, clock, "push", [("b", -1, 0, None, True), ("b", -1, 0, 0.0, False)], deletes=True)
        perform(ws, frames, clock, "push", [("b", -2, 0, 7.0, False)], deletes=True)
        assert_online_is_history(ws, clock, ["clicking"])


def small(ws):
    project = shop(pl.DataFrame({"customer": ["a", "b"], "at": [at(1), at(2)], "amount": [1.0, 2.0]}))
    ws.apply(project)
    ws.ingest("orders")
    return project


def test_a_materialized_view_follows_an_ingest_and_a_second_materialize_does_nothing(workspace):
    project = small(workspace)
    first = workspace.materialize()
    assert workspace.materialize() == first
    assert first[0].keys == 2
    new = pl.DataFrame({"customer": ["c"], "at": [at(3)], "amount": [7.0]})
    project.frames["orders"] = project.frames["orders"].vstack(new)
    (report,) = workspace.ingest("orders")
    after = workspace.get_online_features(["spending:last_amount"], [{"customer": "c"}])
    assert after.to_dict() == {"customer": ["c"], "last_amount": [7.0]}
    assert after.sequence == report.sequence > first[0].sequence
    assert workspace.materialize("spending")[0].keys == 3


def test_a_clock_before_the_last_materialize_reads_history(workspace):
    small(workspace)
    workspace.materialize()
    set_clock(workspace, tm.ReplayClock(at(1.5)))
    read = workspace.get_online_features(["spending"], [{"customer": "a"}, {"customer": "b"}])
    assert read.to_dict()["last_amount"] == [1.0, None]


def test_a_view_that_was_never_materialized_is_read_from_history(workspace):
    small(workspace)
    assert workspace.get_online_features(["spending"], [{"customer": "a"}]).to_dict()["last_amount"] == [1.0]


@pytest.mark.parametrize(("keys", "message"), [([], "no keys"), ([{"custmer": "a"}], "no column 'customer'")])
def test_missing_keys_are_named(workspace, keys, message):
    small(workspace)
    with pytest.raises(DataError, match=message):
        workspace.get_online_features(["spending"], keys)


def typed(ws, rows):
    """A view over columns of every type, with every function that takes it."""
    project = tm.Project("typed")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at", delay="30s")
    def things() -> pl.DataFrame:
        return rows

    @project.feature_view(entity=customer)
    def everything(things: tm.Rows) -> tm.Features:
        features = {"rows": things.count(window="1h")}
        for name in set(rows.columns) - {"customer", "at"}:
            column = things[name]
            features |= {f"{name}_last": column.last(), f"{name}_first": column.first(window="5m")}
            features |= {f"{name}_known": column.last(skip_nulls=True), f"{name}_unique": column.n_unique(window="1h")}
            features |= {
                f"{name}_count": column.count(window="1h"),
                f"{name}_since": column.time_since_last(window="1h"),
            }
            if rows.schema[name].is_numeric() or rows.schema[name] == pl.Boolean:
                features |= {f"{name}_{function}": getattr(column, function)(window="1h") for function in NUMERIC}
                features |= {f"{name}_median": column.quantile(0.5, window="1h", where=things["flag"])}
        features |= {"any_flag": things["flag"].any(window="1h"), "all_flag": things["flag"].all(window="1h")}
        return features | {"none_flag": (~things["flag"]).all(window="1h")}

    ws.apply(project)
    ws.ingest()


NUMERIC = ("sum", "mean", "min", "max", "var", "std")
TYPES = {
    "flag": (pl.Boolean, [True, False]),
    "tiny": (pl.Int8, [-128, 127]),
    "word": (pl.UInt32, [0, 2**32 - 1]),
    "long": (pl.Int64, [-(2**53), 2**53 + 1]),
    "huge": (pl.UInt64, [0, 2**62]),
    "half": (pl.Float32, [0.1, -2.5]),
    "real": (pl.Float64, [1e100, -1e-300]),
    "text": (pl.String, ["", "é", "a" * 600]),
    "bytes": (pl.Binary, [b"", b"\0\xff"]),
    "day": (pl.Date, [datetime(2024, 1, 1).date(), datetime(1969, 1, 1).date()]),
    "moment": (pl.Datetime("ns", "Europe/Berlin"), [START, START + timedelta(days=1)]),
    "local": (pl.Datetime("ms"), [datetime(2024, 1, 1), datetime(1960, 1, 1)]),
    "span": (pl.Duration("us"), [timedelta(days=1), timedelta(microseconds=-1)]),
    "price": (pl.Decimal(20, 4), ["1.5", "-0.0001"]),
    "tags": (pl.List(pl.String), [[], ["a", None]]),
    "grade": (pl.Enum(["low", "high"]), ["low", "high"]),
    "nothing": (pl.Null, [None]),
}


@pytest.mark.parametrize("full", [1, 3, 512])
def test_values_of_every_type_are_those_of_history(workspace, monkeypatch, full):
    monkeypatch.setattr(online, "view_columns", None)
    monkeypatch.setattr(variants, "FULL", full)
    count = 12
    columns = [
        pl.Series(name, [[*values, None][(i * step) % (len(values) + 1)] for i in range(count)]).cast(dtype)
        for step, (name, (dtype, values)) in enumerate(TYPES.items(), start=1)
    ]
    times = pl.Series("at", [START + timedelta(minutes=i // 2) for i in range(count)])
    typed(workspace, pl.DataFrame([pl.Series("customer", [i % 2 for i in range(count)]), times, *columns]))
    workspace.materialize()
    for minutes in (2, 4.5, 70):
        now = tm.ReplayClock(START + timedelta(minutes=minutes))
        set_clock(workspace, now)
        keys = [0, 1, 2, None, 0]
        spine = pl.DataFrame({"customer": keys, "timestamp": [now()] * len(keys)})
        with online_of(workspace).read() as tx:
            (state,) = variants.states(tx)
        if state.covered.at > 0:
            online_of(workspace).write({state.variant.name: None})
            workspace.materialize()
        read = workspace.get_online_features(["everything"], {"customer": keys}, details=True)
        history = workspace.get_historical_features(spine, ["everything"], details=True).drop("timestamp")
        assert read.to_polars().equals(history)
        plain = workspace.get_online_features(["everything"], {"customer": keys})
        assert plain.to_dict() == history.select(plain.to_polars().columns).to_dict(as_series=False)


def amounts(ws, features):
    """Apply the project of `small` with another view."""
    rows = pl.DataFrame({"customer": ["a", "b"], "at": [at(1), at(2)], "amount": [1.0, 2.0]})
    ws.apply(shop(rows, features=features))


def test_what_another_handle_applies_counts_at_once(workspace, tmp_path):
    small(workspace)
    workspace.materialize()
    assert workspace.get_online_features(["spending"], {"customer": ["a"]}).features == ("last_amount", "spent_1d")
    with tm.connect(tmp_path / "shop.tm") as other:
        amounts(other, lambda orders: {"first_amount": orders["amount"].first()})
        for _ in range(2):
            read = workspace.get_online_features(["spending"], {"customer": ["a"]})
            assert read.to_dict() == {"customer": ["a"], "first_amount": [1.0]}


def test_a_change_that_nobody_ended_is_read_every_time_and_mended_by_who_connects_next(workspace, tmp_path):
    small(workspace)
    online_store = online_of(workspace)
    assert context_of(workspace) is context_of(workspace)
    begin_change(online_store)
    assert context_of(workspace) is not context_of(workspace)
    with tm.connect(tmp_path / "shop.tm"):
        assert context_of(workspace) is context_of(workspace)


def test_all_views_of_an_answer_are_of_one_sequence(workspace):
    frames = {"orders": orders_frame([("a", 1, 0, 1, 2.0)])}
    workspace.apply(everything_follows(frames, ids=True, created=False, windows=True))
    workspace.ingest()
    workspace.materialize()
    for amount in (1.0, 2.0):
        pushed = workspace.push("clicks", [{"click": 1, "customer": "a", "at": at(1), "amount": amount}])
        with online_of(workspace).read() as tx:
            assert {state.covered.sequence for state in variants.states(tx)} == {pushed.sequence}


def test_who_opens_a_workspace_lets_the_online_store_follow(tmp_path, monkeypatch):
    frames = {"orders": orders_frame([])}
    with tm.connect(tmp_path / "shop.tm", create=True) as ws:
        ws.apply(everything_follows(frames, ids=True, created=False, windows=True))
        ws.ingest()
        ws.materialize()
        monkeypatch.setattr(online_of(ws), "update", None)
        row = {"click": 1, "customer": "a", "at": at(1), "amount": 5.0}
        assert ws.push("clicks", [row]).online == "behind"
    monkeypatch.undo()
    monkeypatch.setattr(online, "view_columns", None)
    with tm.connect(tmp_path / "shop.tm") as ws:
        read = ws.get_online_features(["clicking:click_newest"], {"customer": ["a"]})
        assert (read.to_dict()["click_newest"], read.sequence) == ([5.0], database_of(ws).sequence())


def test_a_view_read_from_history_beside_others_is_as_of_their_sequence(tmp_path):
    frames = {"orders": orders_frame([("a", 1, 0, 1, 2.0)])}
    with tm.connect(tmp_path / "shop.tm", create=True) as ws:
        ws.apply(everything_follows(frames, ids=True, created=False, windows=True))
        ws.ingest()
        ws.push("clicks", [{"click": 1, "customer": "a", "at": at(1), "amount": 5.0}])
        ws.materialize("spending")
        broken = pytest.MonkeyPatch()
        broken.setattr(online_of(ws), "update", None)
        ws.push("clicks", [{"click": 2, "customer": "a", "at": at(2), "amount": 6.0}])
        broken.undo()
        read = ws.get_online_features(["spending:newest", "clicking:click_newest"], {"customer": ["a"]})
        assert read.to_dict() == {"customer": ["a"], "newest": [None], "click_newest": [5.0]}


def test_a_key_with_many_rows_takes_new_ones_without_being_rewritten(tmp_path, monkeypatch):
    monkeypatch.setattr(variants, "FULL", 10)
    with tm.connect(tmp_path / "shop.tm", create=True) as ws:
        ws.apply(everything_follows({"orders": orders_frame([])}, ids=False, created=False, windows=True))
        ws.ingest()
        ws.materialize()
        for n in range(5):
            minutes = [timedelta(minutes=n * 10 + i) for i in range(10)]
            ws.push("clicks", [{"click": n, "customer": "a", "at": START + m, "amount": 1.0} for m in minutes])
        written = []
        store = online_of(ws)
        write = store.write

        def spy(batch, **known):
            written.extend(batch.values())
            return write(batch, **known)

        monkeypatch.setattr(store, "write", spy)
        ws.push("clicks", [{"click": 99, "customer": "a", "at": START + timedelta(hours=2), "amount": 2.0}])
        entries_of = [(len(change.full), len(change.newest)) for change in written if change.newest]
        assert entries_of == [(1, 1)] * 2, "of two views: the entry that was full, and the new row's"
        read = ws.get_online_features(["clicking:click_newest", "clicking:click_oldest"], {"customer": ["a"]})
        assert read.to_dict() == {"customer": ["a"], "click_newest": [2.0], "click_oldest": [1.0]}


@pytest.mark.parametrize(
    "keys",
    [
        [{"customer": "a"}, {"customer": None}],
        ({"customer": "a"},),
        {"customer": ("a", "b")},
        {"customer": pl.Series(["a", None])},
        [{"customer": "a", "note": 1}, {"customer": "b"}],
        {"customer": ["a"], "note": [datetime(2024, 1, 1)]},
    ],
)
def test_keys_in_any_form_are_answered_alike(workspace, keys):
    small(workspace)
    workspace.materialize()
    read = workspace.get_online_features(["spending:last_amount"], keys)
    frame = read.to_polars()
    assert read.to_dict() == frame.to_dict(as_series=False)
    assert frame["last_amount"].to_list() == [{"a": 1.0, "b": 2.0}.get(key) for key in frame["customer"]]
    assert read.to_numpy()[0, 0] == 1.0


def test_infinite_results_are_null_and_not_counted_online_as_in_history(workspace):
    rows = {"customer": ["a"] * 4, "at": [at(i) for i in range(1, 5)], "amount": [1.0, 2.0, 0.0, None]}

    def shares(orders):
        share = 1.0 / orders["amount"]
        functions = share.count, share.n_unique, share.time_since_last
        return {function.__name__: function(window="1d") for function in functions}

    project = shop(pl.DataFrame(rows), features=shares)
    set_clock(workspace, tm.ReplayClock(at(12)))
    workspace.apply(project)
    workspace.ingest("orders")
    keys = pl.DataFrame({"customer": ["a"], "timestamp": [clock_of(workspace)()]})
    history = workspace.get_historical_features(keys, ["spending"]).drop("timestamp")
    workspace.materialize()
    assert workspace.get_online_features(["spending"], {"customer": ["a"]}).to_polars().equals(history)
    assert history["count"].item() == 2


def test_what_is_warmed_up_is_what_a_read_calls(workspace):
    warm_up()
    known = list(cells.signatures)
    small(workspace)
    workspace.materialize()
    workspace.get_online_features(["spending"], {"customer": ["a"]}).to_polars()
    assert list(cells.signatures) == known


@pytest.mark.parametrize("keys", [{"customer": ["a"]}, [{"customer": "a"}]])
def test_an_answer_keeps_its_keys_when_what_held_them_is_filled_anew(workspace, keys):
    small(workspace)
    workspace.materialize()
    read = workspace.get_online_features(["spending:last_amount"], keys)
    (keys if isinstance(keys, dict) else keys[0])["customer"] = ["b"]
    assert read.to_dict() == read.to_polars().to_dict(as_series=False) == {"customer": ["a"], "last_amount": [1.0]}


@pytest.mark.parametrize("keys", [{"customer": [7]}, {"customer": [True]}, [{"customer": 7}, {"customer": "a"}]])
def test_keys_of_another_kind_are_refused(workspace, keys):
    small(workspace)
    workspace.materialize()
    with pytest.raises(DataError):
        workspace.get_online_features(["spending"], keys)


def test_a_deviation_that_double_double_leaves_open_is_that_of_history(workspace):
    # The variance 2 * (2**27 - 1)**2 has 54 bits and is odd in the last: just halfway between two floats.
    wide = float(2 * (2**27 - 1))
    orders = frame_of(
        [
            ("a", 60, 0, 1, 7.0),  # too old
            ("a", 100, 0, 2, 0.0),
            ("a", 101, 0, 3, wide),
            ("a", 102, 0, 4, 9.0),  # taken back before the read
            ("a", 103, 0, 5, None),
            ("a", 104, 0, 6, 3.0),  # left out by the condition
            ("a", 110, 60, 7, 1.0),  # not yet available
        ]
    )
    project = shop(
        orders,
        order_options={"id": "order", "created": "made"},
        features=lambda rows: {
            name: getattr(rows["amount"], name)(window="30m", where=rows["order"] != 6) for name in ("var", "std")
        },
    )
    taken_back = orders.filter(pl.col("order") == 4).with_columns(pl.col("made").dt.offset_by("2m"), deleted=True)
    project.frames["orders"] = pl.concat([orders.with_columns(deleted=False), taken_back])
    workspace.apply(project)
    workspace.ingest("orders")
    set_clock(workspace, tm.ReplayClock(START + timedelta(minutes=120)))
    workspace.materialize()
    read = workspace.get_online_features(["spending"], {"customer": ["a"]}).to_polars()
    spine = pl.DataFrame({"customer": ["a"], "timestamp": [START + timedelta(minutes=120)]})
    history = workspace.get_historical_features(spine, ["spending"])
    assert read.to_dicts() == history.drop("timestamp").to_dicts()
    assert read["var"].item() == oracle_aggregate("var", [0.0, wide])
    assert read["std"].item() == oracle_aggregate("std", [0.0, wide])
