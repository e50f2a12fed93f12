"""Push: rows that clients send, stored once, all or none."""

import sqlite3
from datetime import UTC, date, datetime, timedelta

import msgspec
import polars as pl
import pytest
from conftest import START, at
from inside import context_of, database_of, environment_of, online_of, set_clock

import tinymlops as tm
from tinymlops.errors import ConflictError, DataError, DefinitionError, IntegrityError, NotFoundError
from tinymlops.features.definitions.specs import ViewSpec
from tinymlops.features.history.stored import stored_rows
from tinymlops.features.intake import pushing
from tinymlops.features.online.variants import Variant
from tinymlops.kernels.entries import EVENT
from tinymlops.keys import key_bytes
from tinymlops.records import AuditEntry, PushBatch, PushedRow, SourceState
from tinymlops.times import to_micros

SCHEMA = {"click": int, "customer": str, "at": datetime, "amount": float}


def clicks_project(*, schema=None, **options):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")
    columns = schema or SCHEMA

    @project.source(**{"timestamp": "at", "id": "click", **options})
    def clicks() -> tm.Schema:
        return columns

    @project.source(timestamp="at")
    def orders() -> str:
        return "select 1 as customer, timestamptz '2024-01-01' as at"

    @project.feature_view(entity=customer)
    def clicking(clicks: tm.Rows) -> tm.Features:
        return {
            "last": clicks["amount"].last(),
            "n": clicks.count(window="1d"),
            "sum": clicks["amount"].sum(window="1d"),
        }

    return project


@pytest.fixture
def clock():
    return tm.ReplayClock(at(10))


@pytest.fixture
def ws(tmp_path, clock):
    with tm.connect(tmp_path / "shop.tm", create=True, clock=clock) as ws:
        ws.apply(clicks_project())
        yield ws


def click(n, customer="a", hour=1, amount=1.0, **more):
    return {"click": n, "customer": customer, "at": at(hour), "amount": amount, **more}


def counts(pushed):
    return pushed.rows_new, pushed.rows_corrected, pushed.rows_known


def history(ws):
    return stored_rows(context_of(ws), "clicks")


def features_at(ws, hour, customer="a"):
    spine = pl.DataFrame({"customer": [customer], "timestamp": [at(hour)]})
    return ws.get_historical_features(spine, ["clicking"]).row(0)[2:]


def test_pushed_rows_are_history_known_from_their_commit(ws):
    pushed = ws.push("clicks", [click(1, amount=2.0), click(2, hour=3, amount=5.0)])
    assert counts(pushed) == (2, 0, 0)
    assert (pushed.sequence, pushed.online) == (2, "current")
    assert repr(pushed) == "<pushed to clicks: 2 new, 0 corrected, 0 known; Q=2, online current>"
    assert features_at(ws, 9) == (None, 0, 0.0)  # they had happened but were not known
    assert features_at(ws, 11) == (5.0, 2, 7.0)
    row = database_of(ws).list(PushedRow)[0]
    assert (row.n, row.event, row.created) == (1, at(1).timestamp() * 1e6, at(10).timestamp() * 1e6)


def test_a_push_leaves_its_mark_in_state_and_audit(ws):
    ws.push("clicks", [click(1), click(2, hour=4)], batch_id="monday")
    state = database_of(ws).get(SourceState, source="clicks")
    assert (state.rows, state.max_event, state.ingested_at) == (2, at(4).timestamp() * 1e6, at(10))
    entry = database_of(ws).list(AuditEntry, order="-n", limit=1)[0]
    assert (entry.action, entry.subject, entry.detail["rows"]) == ("push", "clicks", 2)
    assert entry == ws.audit.list(subject="monday")[0]
    assert "monday" not in str(entry)


def test_an_event_still_to_come_is_accepted_and_seen_when_it_has_happened(ws, clock):
    ws.push("clicks", [click(1, hour=12)])
    assert features_at(ws, 11) == (None, 0, 0.0)
    assert features_at(ws, 13) == (1.0, 1, 1.0)


def test_the_same_row_again_is_known_and_other_content_is_a_correction(ws, clock):
    ws.push("clicks", [click(1), click(2)])
    assert counts(ws.push("clicks", [click(1), click(2, amount=9.0), click(3)])) == (1, 1, 1)
    clock.advance("1h")
    assert features_at(ws, 11)[1:] == (3, 11.0)
    assert counts(ws.push("clicks", [click(1), click(1), click(1, amount=4.0)])) == (0, 1, 2)


def test_a_delete_takes_its_event_back(ws, clock):
    ws.push("clicks", [click(1, amount=2.0), click(2, hour=3, amount=5.0)])
    clock.advance("1h")
    delete = {"click": 2, "customer": "a", "at": at(3), "deleted": True}
    assert counts(ws.push("clicks", [delete])) == (0, 1, 0)
    assert counts(ws.push("clicks", [delete])) == (0, 0, 1)
    assert features_at(ws, 10.5) == (5.0, 2, 7.0)
    assert features_at(ws, 12) == (2.0, 1, 2.0)
    assert counts(ws.push("clicks", [click(2, hour=3, amount=5.0)])) == (0, 1, 0)


def test_the_replay_of_a_batch_stores_nothing_and_its_id_on_other_rows_is_refused(ws):
    batch = [click(1), click(2)]
    assert counts(ws.push("clicks", batch, batch_id="b1")) == (2, 0, 0)
    ws.push("clicks", [click(1, amount=7.0)])
    assert counts(ws.push("clicks", batch, batch_id="b1")) == (0, 0, 2)  # and does not undo the correction
    assert history(ws).height == 3
    with pytest.raises(ConflictError, match="batch 'b1' was pushed to source 'clicks' before, with other rows"):
        ws.push("clicks", [click(5)], batch_id="b1")


def test_without_an_id_only_the_batch_is_known(tmp_path):
    with tm.connect(tmp_path / "shop.tm", create=True) as ws:
        ws.apply(clicks_project(id=None))
        assert counts(ws.push("clicks", [click(1), click(1)])) == (2, 0, 0)
        assert counts(ws.push("clicks", [click(1)], batch_id="x")) == (1, 0, 0)
        assert counts(ws.push("clicks", [click(1)], batch_id="x")) == (0, 0, 1)
        with pytest.raises(ConflictError, match="with other rows"):
            ws.push("clicks", [click(1), click(1)], batch_id="x")
        assert database_of(ws).count(PushedRow) == 3


def test_without_an_id_a_batch_has_a_name_that_a_retry_can_pass(tmp_path):
    with tm.connect(tmp_path / "shop.tm", create=True) as ws:
        ws.apply(clicks_project(id=None))
        first, other = (ws.push("clicks", [click(1)]) for _ in range(2))
        assert counts(first) == counts(other) == (1, 0, 0)  # two different batches without an id
        assert first.batch_id != other.batch_id
        assert repr(first).endswith(f"online current, batch {first.batch_id}>")
        again = ws.push("clicks", [click(1)], batch_id=first.batch_id)
        assert (counts(again), again.batch_id) == ((0, 0, 1), first.batch_id)
        assert [entry.action for entry in ws.audit.list(subject=other.batch_id)] == ["push"]


def test_with_an_id_no_batch_needs_a_name(ws):
    assert ws.push("clicks", [click(1)]).batch_id is None
    assert ws.push("clicks", [click(2)], batch_id="b1").batch_id == "b1"
    assert database_of(ws).count(PushBatch) == 1


def test_rows_from_json_are_taken_exactly(tmp_path):
    schema = {
        "click": int, "customer": str, "at": datetime, "amount": float, "day": date, "wait": "Time",
        "price": "Decimal[10, 2]", "kind": "Enum['x', 'y']", "tags": pl.List(pl.Int64), "ok": bool,
    }  # fmt: skip
    body = (
        '[{"click": 7.0, "customer": "ä", "at": "2024-01-01T01:00:00+02:00", "amount": 3, "day": "2024-02-29",'
        ' "wait": "01:02:03", "price": "1.25", "kind": "y", "tags": [1, 2], "ok": true},'
        ' {"click": 8, "customer": "b", "at": "2024-01-01T00:00:00.0000001Z", "amount": null, "day": null,'
        ' "wait": null, "price": null, "kind": null, "tags": null, "ok": null}]'
    )
    with tm.connect(tmp_path / "shop.tm", create=True) as ws:
        ws.apply(clicks_project(schema=schema))
        ws.push("clicks", msgspec.json.decode(body))
        stored = history(ws).select(*schema).rows()
    assert stored[0][:5] == (7, "ä", datetime(2023, 12, 31, 23, tzinfo=UTC), 3.0, date(2024, 2, 29))
    assert [str(value) for value in stored[0][5:8]] == ["01:02:03", "1.25", "y"]
    assert stored[0][8:] == ([1, 2], True)
    # Finer than a microsecond rounds up: a fact must not come earlier than it did.
    assert stored[1] == (8, "b", START + timedelta(microseconds=1), *[None] * 7)


@pytest.mark.parametrize("kind", ["polars", "pandas", "arrow", "columns"])
def test_any_table_is_taken_and_nan_is_null(ws, kind):
    frame = pl.DataFrame([click(1, amount=float("nan")), click(2, amount=2.0)])
    table = {"polars": frame, "arrow": frame.to_arrow(), "columns": frame.to_dict(as_series=False)}.get(kind)
    if kind == "pandas":
        pytest.importorskip("pandas")
        table = frame.to_pandas()
    assert counts(ws.push("clicks", table)) == (2, 0, 0)
    assert history(ws)["amount"].to_list() == [None, 2.0]
    assert counts(ws.push("clicks", frame.to_dicts())) == (0, 0, 2)  # the same rows, whatever they came in


@pytest.mark.parametrize("rows", [[], {}, pl.DataFrame(schema={"click": pl.Int64})])
def test_no_rows_are_no_push(ws, rows):
    assert counts(ws.push("clicks", rows)) == (0, 0, 0)
    assert database_of(ws).get(SourceState, source="clicks") is None


BAD = [
    (click(2, amout=1.0), "source 'clicks' has no column 'amout'\nHint: did you mean 'amount'"),
    ({"click": 2, "customer": "a", "at": at(1)}, r"column 'amount' of source 'clicks' is missing, in rows \[1\]"),
    ({"click": 2, "at": at(1), "deleted": True}, r"column 'customer' of source 'clicks' is missing, in rows \[1\]"),
    (click(None), r"column 'click' of source 'clicks' is null, in rows \[1\]"),
    (click(2, customer=None), r"column 'customer' of source 'clicks' is null, in rows \[1\]"),
    (click(2) | {"at": None}, r"column 'at' of source 'clicks' is null, in rows \[1\]"),
    (click("2"), r"column 'click' of source 'clicks' is Int64 and holds '2', in rows \[1\]"),
    (click(2.5), r"column 'click' of source 'clicks' is Int64 and holds 2.5, in rows \[1\]"),
    (click(True), r"is Int64 and holds True, in rows \[1\]"),
    (click(2**63), r"column 'click' of source 'clicks' holds 9223372036854775808, beyond .*, in rows \[1\]"),
    (click(2, amount=2**53 + 1), r"is Float64 and holds 9007199254740993, in rows \[1\]"),
    (click(2, amount=10**400), r"is Float64 and holds 1000.*, in rows \[1\]"),
    (click(2, amount="much"), r"column 'amount' of source 'clicks' is Float64 and holds 'much', in rows \[1\]"),
    (click(2, amount=float("inf")), r"column 'amount' of source 'clicks' is infinite in rows \[1\]"),
    (click(2, customer=7), r"column 'customer' of source 'clicks' is String and holds 7, in rows \[1\]"),
    (click(2, customer="a\ud800"), r"column 'customer' of source 'clicks' is not a String, in rows \[1\]"),
    (click(2) | {"at": "yesterday"}, r"column 'at' .* holds 'yesterday', in rows \[1\]\nHint: write times as ISO 8601"),
    (click(2) | {"at": 1700000000}, r"column 'at' .* holds 1700000000, in rows \[1\]"),
    (click(2) | {"at": "2024-01-01T00:00:00"}, "'at' of source 'clicks' holds times without a time zone"),
    (click(2, deleted="yes"), r"column 'deleted' of source 'clicks' is Boolean and holds 'yes', in rows \[1\]"),
]


@pytest.mark.parametrize(("bad", "message"), BAD)
def test_a_bad_row_is_named_and_stores_nothing(ws, bad, message):
    with pytest.raises(DataError, match=message):
        ws.push("clicks", [click(1, deleted=False) if "deleted" in bad else click(1), bad])
    assert database_of(ws).count(PushedRow) == 0
    assert database_of(ws).sequence() == 0


def test_what_is_no_source_of_pushes_is_refused(ws):
    with pytest.raises(NotFoundError, match="did you mean 'clicks'"):
        ws.push("click", [])
    with pytest.raises(DataError, match="source 'orders' takes no pushes: its rows come by ingest"):
        ws.push("orders", [])
    with pytest.raises(DataError, match="source 'clicks' takes pushes and cannot be ingested"):
        ws.ingest("clicks")


@pytest.mark.parametrize(
    ("schema", "options", "message"),
    [
        (SCHEMA, {"created": "at"}, "a pushed row is known from its commit on"),
        (SCHEMA, {"id": "clik"}, "has no column 'clik', which its id= names\nHint: did you mean 'click'"),
        (SCHEMA | {"__n": int}, {}, r"has columns \['__n'\]"),
        (SCHEMA | {"deleted": str}, {}, "a column 'deleted' of String"),
        (SCHEMA | {"at": str}, {}, "timestamp 'at' of source 'clicks' is String, not a time"),
        (SCHEMA | {"at": date}, {}, "timestamp 'at' of source 'clicks' is Date, which has no time zone"),
    ],
)
def test_a_schema_that_does_not_fit_is_refused_at_the_decorator(schema, options, message):
    with pytest.raises(DefinitionError, match=message):
        clicks_project(schema=schema, **options)


def test_naive_times_are_in_the_zone_of_their_source(tmp_path):
    with tm.connect(tmp_path / "shop.tm", create=True) as ws:
        ws.apply(clicks_project(tz="America/New_York"))
        ws.push("clicks", [click(1) | {"at": "2024-07-01T12:00:00"}, click(2) | {"at": "2024-07-01T12:00:00Z"}])
        assert history(ws)["at"].to_list() == [datetime(2024, 7, 1, h, tzinfo=UTC) for h in (16, 12)]
        with pytest.raises(DataError, match="a clock change in America/New_York skipped or repeated"):
            ws.push("clicks", [click(3) | {"at": "2024-03-10T02:30:00"}])


def test_a_schema_may_gain_a_column_and_never_changes_a_type(tmp_path):
    with tm.connect(tmp_path / "shop.tm", create=True) as ws:
        ws.apply(clicks_project())
        ws.push("clicks", [click(1), click(2)])
        # Declared first, it is still stored last.
        ws.apply(clicks_project(schema={"page": str} | SCHEMA))
        assert history(ws)["page"].to_list() == [None, None]
        assert counts(ws.push("clicks", [click(1, page=None), click(2, page="x")])) == (0, 1, 1)
        assert history(ws).select("click", "amount", "page").rows() == [(1, 1.0, None), (2, 1.0, None), (2, 1.0, "x")]
        ws.apply(clicks_project(schema=SCHEMA | {"amount": int}))
        with pytest.raises(DataError, match="column 'amount' of source 'clicks' was Float64 and is now Int64"):
            ws.push("clicks", [click(3, amount=1)])


def test_a_negative_delay_is_refused(tmp_path):
    with tm.connect(tmp_path / "shop.tm", create=True) as ws:
        ws.apply(clicks_project(schema=SCHEMA | {"late": timedelta}, delay="late"))
        ws.push("clicks", [click(1, late=timedelta(minutes=5))])
        with pytest.raises(
            DataError, match=r"delay column 'late' of source 'clicks' is negative, null or endless in rows \[0\]"
        ):
            ws.push("clicks", [click(2, late=None)])


def test_a_changed_payload_is_detected(ws):
    ws.push("clicks", [click(1)])
    with sqlite3.connect(environment_of(ws).path / "meta.db") as connection:
        connection.execute("update pushed_rows set payload = x'93010203'")
    connection.close()
    with pytest.raises(IntegrityError, match="the row with n=1 in table pushed_rows is not what was written"):
        features_at(ws, 11)


def test_a_failure_in_the_transaction_stores_nothing(ws, monkeypatch):
    def broken(payload):
        raise OSError("no")

    monkeypatch.setattr(pushing, "digest_of", broken)
    with pytest.raises(OSError, match="no"):
        ws.push("clicks", [click(1)])
    assert database_of(ws).sequence() == 0
    assert database_of(ws).get(SourceState, source="clicks") is None


def test_a_push_is_never_undone_by_the_online_store(ws, monkeypatch):
    ws.materialize("clicking")

    def broken(function):
        raise IntegrityError("the online store is damaged")

    monkeypatch.setattr(online_of(ws), "update", broken)
    pushed = ws.push("clicks", [click(1)])
    assert (counts(pushed), pushed.online) == ((1, 0, 0), "behind")
    monkeypatch.undo()
    assert ws.get_online_features(["clicking"], [{"customer": "a"}]).to_dict()["last"] == [None]
    assert ws.push("clicks", [click(2, hour=2, amount=4.0)]).online == "current"
    assert ws.get_online_features(["clicking"], [{"customer": "a"}]).to_dict()["last"] == [4.0]


def test_a_later_push_is_the_greater_even_where_the_clock_was_set_back(ws):
    ws.push("clicks", [click(1)])
    set_clock(ws, tm.ReplayClock(at(5)))
    ws.push("clicks", [click(1, amount=2.0)])
    assert features_at(ws, 11)[0] == 2.0


def test_pushed_rows_reach_labels_and_training_sets(tmp_path):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at", id="visit")
    def visits() -> tm.Schema:
        return {"visit": int, "customer": str, "at": datetime}

    @project.source(timestamp="at", id="click")
    def clicks() -> tm.Schema:
        return SCHEMA

    @project.transformation(timestamp="at")
    def daily(clicks: tm.Rows) -> str:
        return 'select customer, max("at") as "at", count(*) as n, sum(click) as total from clicks group by customer'

    @project.feature_view(entity=customer)
    def clicking(clicks: tm.Rows) -> tm.Features:
        return {"n": clicks.count(window="1d")}

    @project.label(entity=customer, horizon="2h")
    def buys(clicks: tm.Rows) -> tm.Label:
        return clicks["amount"].last()

    project.training_set("t", spine=visits, label=buys, features=[clicking])
    clock = tm.ReplayClock(at(3))
    with tm.connect(tmp_path / "shop.tm", create=True, clock=clock) as ws:
        ws.apply(project)
        ws.push("clicks", [click(1, hour=1), click(9, hour=1)])
        ws.push("clicks", [click(9, hour=1, deleted=True)])
        clock.move_to(at(9))
        ws.push("visits", [{"visit": i, "customer": "a", "at": at(h)} for i, h in enumerate([4, 8.5])])
        ws.push("visits", [{"visit": 7, "customer": "a", "at": at(4), "deleted": True}])
        ws.push("clicks", [click(2, hour=5, amount=3.0), click(3, hour=40)])
        with pytest.raises(DataError, match="2 are immature"):
            ws.get_training_data("t")  # an event still to come says nothing about what is complete by now
        ws.push("clicks", [click(5, hour=6.5)])
        data = ws.get_training_data("t")
        assert data.train.X["n"].to_list() == [1]
        assert data.train.y.to_list() == [3.0]
        assert (data.report.spine_rows, data.report.immature) == (2, 1)
        assert [report.source for report in ws.ingest()] == ["daily"]
        rebuilt = stored_rows(context_of(ws), "daily")
        assert rebuilt.select("customer", "n", "total").rows() == [("a", 4, 11)]
        assert rebuilt.schema["total"] == pl.Int64
        assert ws.ingest() == []
        ws.push("clicks", [click(4)])
        assert [report.rows_new for report in ws.ingest()] == [1]


def test_twenty_thousand_rows_go_in_and_come_out(ws):
    rows = pl.DataFrame(
        {
            "click": range(20_000),
            "customer": [f"customer {i % 500}" for i in range(20_000)],
            "at": [START + timedelta(seconds=i) for i in range(20_000)],
            "amount": [i / 7 for i in range(20_000)],
        }
    ).with_columns(pl.col("at").cast(pl.Datetime("us", "UTC")))
    ws.materialize("clicking")
    assert counts(ws.push("clicks", rows)) == (20_000, 0, 0)
    assert history(ws).select(rows.columns).equals(rows)
    assert counts(ws.push("clicks", rows.to_dicts())) == (0, 0, 20_000)
    read = ws.get_online_features(["clicking"], [{"customer": "customer 7"}])
    spine = pl.DataFrame({"customer": ["customer 7"], "timestamp": [read.timestamp]})
    assert read.to_polars().row(0)[1:] == ws.get_historical_features(spine, ["clicking"]).row(0)[2:]


@pytest.mark.parametrize("change", [{"deleted": True}, {"at": at(-50)}])
def test_a_row_that_was_not_kept_online_may_win_again(ws, clock, change):
    ws.push("clicks", [click(1, hour=-40, amount=2.0), click(2, hour=3, amount=5.0)])
    ws.materialize("clicking")
    context = context_of(ws)
    view = context.definitions.get(ViewSpec, "clicking")
    variant = Variant.of(context.definitions, view)
    with context.environment.online.read() as tx:
        kept, _ = variant.rows(
            tx, variant.state(tx).layout, key_bytes([pl.Series(["a"])], [pl.String()], ["customer"], variant.prefix)
        )
    assert kept.columns[EVENT].tolist() == [to_micros(at(3))]
    ws.push("clicks", [{**click(2, hour=3, amount=5.0), **change}])
    assert ws.get_online_features(["clicking"], [{"customer": "a"}]).to_dict()["last"] == [2.0]


def test_a_transformation_that_only_says_it_is_row_wise_is_found_by_the_first_rows(tmp_path):
    project = clicks_project()

    @project.transformation(row_wise=True)
    def ranked(clicks: pl.LazyFrame) -> pl.LazyFrame:
        return clicks.with_columns(rank=pl.col("amount").rank())

    rows = [{"click": i, "customer": "a", "at": at(i), "amount": float(-i)} for i in range(4)]
    with tm.connect(tmp_path / "t.tm", create=True) as ws:
        ws.apply(project)
        with pytest.raises(DefinitionError, match="'ranked' says row_wise=True.*depends on which other rows are there"):
            ws.push("clicks", rows)
        assert ws.sql("select count(*) as n from clicks")["n"].item() == 0
