"""A read that is small beside history is compared with the rows of its ids alone, and stores what it would beside all of them."""

import random
from datetime import date, datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest
from conftest import START, at
from inside import set_clock
from polars.testing import assert_frame_equal

import tinymlops as tm
from tinymlops.features.intake import taking_in
from tinymlops.stores import segments
from tinymlops.stores.lookup import Lookup

KINDS = {
    "int": lambda n: n,
    "text": lambda n: f"no. {n}",
    "date": lambda n: date(2024, 1, 1) + timedelta(days=n),
    "decimal": lambda n: Decimal(n).scaleb(-2),
    "time": lambda n: at(n),
}


def project_of(frames, **options):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at", id="order", **options)
    def orders(since: datetime | None) -> pl.DataFrame:
        frames["since"] = since
        return frames["orders"]

    @project.feature_view(entity=customer)
    def spending(orders: tm.Rows) -> tm.Features:
        return {"last": orders["amount"].last()}

    return project


def read_of(chance, kind, known, count, fresh):
    """Rows of known ids, changed or not, under other keys or deleted, some twice, and of new ones; some ids are null."""
    numbers = [chance.randrange(known) for _ in range(count)] + [known + n for n in range(fresh)]
    return pl.DataFrame(
        [
            {
                "order": None if chance.random() < 0.1 else KINDS[kind](n),
                "customer": n % 3 if chance.random() < 0.8 else 7,
                "at": at(n),
                "amount": float(n) if chance.random() < 0.6 else chance.random(),
                "deleted": chance.random() < 0.1,
            }
            for n in numbers
        ],
        schema_overrides={"order": pl.Series([KINDS[kind](0)]).dtype},
    )


def history(tmp_path, name, kind, monkeypatch, *, small, **options):
    """Ingest a large read and then small ones; return the reports and all rows."""
    monkeypatch.setattr(taking_in, "_SMALL", 4 if small else 10**9)
    chance, frames, reports = random.Random(7), {}, []
    with tm.connect(tmp_path / f"{name}.tm", create=True, clock=tm.ReplayClock(START + timedelta(days=60))) as ws:
        ws.apply(project_of(frames, cursor="at", **options))
        known = 400
        for turn in range(6):
            set_clock(ws, tm.ReplayClock(START + timedelta(days=60 + turn)))
            frames["orders"] = read_of(chance, kind, known, 15 if turn else 0, 5 if turn else known)
            known += 5 if turn else 0
            (report,) = ws.ingest("orders")
            counts = {field: getattr(report, field) for field in report.__struct_fields__}
            reports.append({field: value for field, value in counts.items() if field not in ("seconds", "at")})
        return reports, ws.sql("select * from orders_history order by __sequence")


@pytest.mark.filterwarnings("ignore:.*is not unique in what was read")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"known": "latest"}], ids=["observed", "latest"])
def test_a_small_read_stores_what_it_would_beside_all_rows(tmp_path, monkeypatch, kind, options):
    few, rows = history(tmp_path, "few", kind, monkeypatch, small=True, **options)
    every, expected = history(tmp_path, "every", kind, monkeypatch, small=False, **options)
    assert few == every
    assert_frame_equal(rows, expected)
    assert sum(one["rows_corrected"] for one in few) > 5
    assert sum(one["rows_known"] for one in few) > 2


@pytest.mark.filterwarnings("ignore:.*is not unique in what was read")
def test_an_id_column_that_grew_is_found(tmp_path, monkeypatch):
    frames = {"orders": pl.DataFrame({"order": range(100), "customer": 1, "at": at(1), "amount": 1.0})}
    frames["orders"] = frames["orders"].with_columns(pl.col("order").cast(pl.Int16))
    monkeypatch.setattr(taking_in, "_SMALL", 4)
    with tm.connect(tmp_path / "shop.tm", create=True, clock=tm.ReplayClock(at(100))) as ws:
        ws.apply(project_of(frames, cursor="at"))
        ws.ingest("orders")
        frames["orders"] = pl.DataFrame({"order": [7, 2**40], "customer": 1, "at": at(1), "amount": [1.0, 2.0]})
        (report,) = ws.ingest("orders")
        assert (report.rows_new, report.rows_known) == (1, 1)


def test_of_a_file_without_such_rows_no_other_column_is_read(tmp_path):
    rows = pl.DataFrame({"order": range(1_000), "amount": 1.0}).with_columns(
        __event=pl.lit(1, pl.Int64), __created=pl.lit(None, pl.Int64), __ordinal=pl.int_range(1, 1_001), __deleted=False
    )
    (tmp_path / "tmp").mkdir()
    file = segments.write(rows, tmp_path / "orders", tmp_path / "tmp")
    path = tmp_path / "orders" / file.sha256

    def sought(name, values):
        return Lookup(pl.DataFrame({name: values}), None, tmp_path / "tmp")

    assert list(segments.batches(path, 0, among=sought("order", [1_000, None, -1]))) == []
    (found,) = segments.batches(path, 10, among=sought("order", [999, 3, 5_000]))
    assert found.select("order", "__sequence").rows() == [(3, 14), (999, 1_010)]
    # A column that the file lacks is null in its rows.
    assert list(segments.batches(path, 0, among=sought("other", [1]))) == []
    assert sum(one.height for one in segments.batches(path, 0, among=sought("other", [1, None]))) == 1_000


@pytest.mark.parametrize("cursor", ["at", "changed"])
def test_since_is_the_same_whether_it_is_read_or_kept(tmp_path, cursor):
    frames = {}
    with tm.connect(tmp_path / "shop.tm", create=True) as ws:
        ws.apply(project_of(frames, cursor=cursor, lookback="1h"))
        times = [at(1), at(5), at(9), at(10**6)]  # the last is ahead of the clock and does not count
        frames["orders"] = pl.DataFrame(
            {"order": range(4), "customer": 1, "at": times, "changed": times, "amount": 1.0}
        )
        with pytest.warns(UserWarning, match="dated later than now"):
            ws.ingest("orders")
        assert frames["since"] is None
        frames["orders"] = frames["orders"].head(0)
        ws.ingest("orders")
        assert frames["since"] == at(8)
