"""`gc`: files that are not needed are removed after their grace period; everything else stays."""

import os

import msgspec
import polars as pl
import pytest
from conftest import at, shop
from inside import context_of, database_of, environment_of

import tinymlops as tm
from tinymlops.errors import ConflictError, NotFoundError
from tinymlops.features.history.stored import stored_rows
from tinymlops.records import Segment
from tinymlops.stores.collection import collect
from tinymlops.times import from_micros, system_clock, to_micros

HOUR = 3_600_000_000


def orders(count):
    return pl.DataFrame({"customer": ["a"] * count, "at": [at(i) for i in range(count)], "amount": [1.0] * count})


def files(root):
    return {path for folder in ("blobs", "segments") for path in (root / folder).rglob("*") if path.is_file()}


def now():
    return to_micros(system_clock())


def test_orphans_go_once_they_are_old_enough_and_what_is_named_stays(workspace, tmp_path):
    workspace.apply(shop(orders(3)))
    workspace.ingest("orders")
    environment = environment_of(workspace)
    kept = files(environment.path)
    fresh, old = environment.blobs.put(b"fresh"), environment.blobs.put(b"old")
    path = environment.blobs.path(old)
    os.utime(path, (0, 0))
    collected = collect(environment, now=now(), grace=HOUR, actor="test")
    assert (collected.orphans, collected.segments, collected.bytes) == (1, 0, 3)
    assert files(environment.path) == kept | {environment.blobs.path(fresh)}


def test_a_segment_out_of_use_stays_for_its_grace_and_then_goes_with_its_row(workspace):
    workspace.apply(shop(orders(3)))
    workspace.ingest("orders")
    environment = environment_of(workspace)
    with environment.database.write(actor="test") as tx:
        for segment in tx.list(Segment):
            tx.update(msgspec.structs.replace(segment, dead_at=from_micros(now() - HOUR)))
    assert collect(environment, now=now(), grace=2 * HOUR, actor="test").segments == 0
    assert len(files(environment.path)) == 1
    assert collect(environment, now=now(), grace=HOUR, actor="test").segments == 1
    assert files(environment.path) == set()
    assert environment.database.rows("SELECT count(*) FROM segments") == [(0,)]
    assert environment.database.verify_audit() == []


def test_a_file_that_another_row_names_stays(workspace):
    workspace.apply(shop(orders(3)))
    workspace.ingest("orders")
    environment = environment_of(workspace)
    with environment.database.write(actor="test") as tx:
        (segment,) = tx.list(Segment)
        tx.insert(msgspec.structs.replace(segment, id=None, dead_at=from_micros(1)))
    assert collect(environment, now=now(), grace=HOUR, actor="test").segments == 0
    assert len(files(environment.path)) == 1


def test_it_waits_for_readers_and_writers(workspace):
    environment = environment_of(workspace)
    order = []
    import threading

    started = threading.Event()

    def run():
        started.set()
        collect(environment, now=now(), grace=HOUR, actor="test")
        order.append("collected")

    with environment.gc_lock.shared(deadline=1):
        thread = threading.Thread(target=run)
        thread.start()
        started.wait()
        order.append("read")
    thread.join()
    assert order == ["read", "collected"]


def daily(frames):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at")
    def sales() -> pl.DataFrame:
        return frames["sales"]

    @project.source(timestamp="at")
    def visits() -> pl.DataFrame:
        return frames["visits"]

    @project.transformation(timestamp="at")
    def totals(sales: tm.Rows) -> str:
        return 'select customer, "at", sum(amount) as total from sales group by all'

    @project.feature_view(entity=customer)
    def selling(totals: tm.Rows) -> tm.Features:
        return {"total": totals["total"].last()}

    @project.label(entity=customer, horizon="1h")
    def sells(sales: tm.Rows) -> tm.Label:
        return sales["amount"].sum()

    project.training_set("sold", spine=visits, label=sells, features=[selling])
    return project


def test_a_rebuild_stays_for_the_training_set_that_was_made_from_it(workspace):
    frames = {"sales": orders(20), "visits": orders(10).drop("amount")}
    workspace.apply(daily(frames))
    workspace.ingest()
    frames["sales"] = orders(21)
    workspace.ingest()
    data = workspace.get_training_data("sold")
    built = database_of(workspace).sequence()
    for count in (22, 23):
        frames["sales"] = orders(count)
        workspace.ingest()
    kept = stored_rows(context_of(workspace), "totals", as_of=built)
    workspace.backup(environment_of(workspace).path.parent / "copy")
    collected = workspace.gc(grace="1us")
    assert collected.segments == 2
    assert stored_rows(context_of(workspace), "totals", as_of=built).equals(kept)
    assert workspace.verify(data.build_id).same
    with pytest.raises(NotFoundError, match="rows that transformation 'totals' had at Q=.* are no longer kept"):
        stored_rows(context_of(workspace), "totals", as_of=built - 1)
    tm.restore(environment_of(workspace).path.parent / "copy", environment_of(workspace).path.parent / "again.tm")
    with tm.connect(environment_of(workspace).path.parent / "again.tm") as again:
        assert again.verify(data.build_id).same
        assert again.gc(grace="1us").segments == 2


def test_what_compaction_replaced_goes_and_history_stays(workspace):
    project = shop(orders(3))
    workspace.apply(project)
    workspace.ingest("orders")
    project.frames["orders"] = orders(5)
    workspace.ingest("orders")
    before = stored_rows(context_of(workspace), "orders")
    workspace.compact()
    assert len(files(environment_of(workspace).path)) == 3
    assert workspace.gc(grace="1us").segments == 2
    assert stored_rows(context_of(workspace), "orders").equals(before)
    assert stored_rows(context_of(workspace), "orders", as_of=3).height == 3


def test_views_that_nothing_reads_any_more_leave_the_online_store(workspace):
    project = shop(orders(3))
    workspace.apply(project)
    workspace.ingest("orders")
    workspace.materialize()
    assert workspace.gc().views == 0
    workspace.apply(shop(orders(3), features=lambda orders: {"n": orders.count(window="2d")}))
    workspace.materialize()
    assert workspace.gc().views == 1
    assert workspace.gc().views == 0
    row = workspace.get_online_features(["spending"], [{"customer": "a"}]).to_dict()
    assert row["n"] == [0]


def test_a_reader_holds_its_files_until_they_are_read(workspace, monkeypatch):
    from tinymlops.stores import segments

    workspace.apply(shop(orders(3)))
    workspace.ingest("orders")
    read = segments.read

    def collecting(*arguments):
        with (
            pytest.raises(ConflictError, match="held shared"),
            environment_of(workspace).gc_lock.exclusive(deadline=0.01),
        ):
            pass
        return read(*arguments)

    monkeypatch.setattr(segments, "read", collecting)
    assert stored_rows(context_of(workspace), "orders").height == 3
