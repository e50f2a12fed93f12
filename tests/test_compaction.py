"""Compaction: fewer files and rows in the table, and the same history, sequence by sequence."""

from datetime import datetime, timedelta

import polars as pl
import pytest
from conftest import at, shop
from fuzzing import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from inside import clock_of, context_of, database_of, environment_of, set_clock

import tinymlops as tm
from tinymlops.errors import ConflictError, DataError
from tinymlops.features.history import stored
from tinymlops.features.history.stored import live_segments, newest_progress, stored_batches, stored_rows
from tinymlops.features.intake import compaction
from tinymlops.features.intake.compaction import compact_where_needed
from tinymlops.records import PushedRow, Segment


def orders(*rows):
    return pl.DataFrame(
        [{"customer": c, "at": at(h), "amount": a} for c, h, a in rows],
        schema={"customer": pl.String, "at": pl.Datetime("us", "UTC"), "amount": pl.Float64},
    )


def clicks_project(**options):
    project = tm.Project("clicks")
    customer = project.entity("customer", key="customer")

    @project.source(**{"timestamp": "at", "id": "click", **options})
    def clicks() -> tm.Schema:
        return {"click": int, "customer": str, "at": datetime, "amount": float}

    @project.feature_view(entity=customer)
    def clicking(clicks: tm.Rows) -> tm.Features:
        return {"last": clicks["amount"].last(), "n": clicks.count(window="1d")}

    return project


def click(n, amount=1.0, **more):
    return {"click": n, "customer": "a", "at": at(n), "amount": amount, **more}


@pytest.fixture
def pushing(tmp_path):
    with tm.connect(tmp_path / "clicks.tm", create=True, clock=tm.ReplayClock(at(50))) as ws:
        ws.apply(clicks_project())
        yield ws


def history(ws, name, as_of=None):
    return stored_rows(context_of(ws), name, as_of=as_of).sort("__sequence")


def live(ws, name):
    return live_segments(context_of(ws), name)


def test_many_ingests_leave_at_most_eight_segments_and_the_same_history(workspace):
    project = shop(orders())
    workspace.apply(project)
    rows, known = [], {}
    for number in range(30):
        rows += [("ab"[number % 2], number, float(number))] * (1 + 20 * (number == 0))
        project.frames["orders"] = orders(*rows)
        (report,) = workspace.ingest("orders")
        known[report.sequence] = history(workspace, "orders")
        assert len(live(workspace, "orders")) <= 8
    for sequence, before in known.items():
        assert history(workspace, "orders", as_of=sequence).equals(before)
        assert newest_progress(context_of(workspace), "orders", as_of=sequence) == before["__event"].max()
    assert database_of(workspace).count(Segment, {"dead_at": None}) < 8 < database_of(workspace).count(Segment)
    (report,) = workspace.ingest("orders")
    assert report.rows_new == 0


def test_compact_puts_all_into_one_segment(workspace):
    project = shop(orders(("a", 1, 1.0)))
    workspace.apply(project)
    workspace.ingest("orders")
    project.frames["orders"] = orders(("a", 1, 1.0), ("a", 2, 2.0)).with_columns(coupon=pl.lit("x"))
    with pytest.warns(UserWarning, match="new columns, 'coupon'"):
        workspace.ingest("orders")
    before = history(workspace, "orders")
    (compacted,) = workspace.compact()
    assert (compacted.source, compacted.segments, compacted.rows) == ("orders", 2, 2)
    (segment,) = live(workspace, "orders")
    assert (segment.base, segment.last, segment.rows) == (0, 2, 2)
    assert history(workspace, "orders").equals(before)
    assert history(workspace, "orders")["coupon"].to_list() == [None, "x"]
    assert workspace.compact() == []
    project.frames["orders"] = orders(("a", 1, 1.0)).with_columns(coupon=pl.lit(1))
    with pytest.raises(DataError, match="'coupon' of source 'orders' was String and is now Int32"):
        workspace.ingest("orders")
    assert database_of(workspace).verify_audit() == []


def test_pushed_rows_move_with_their_times_and_are_still_known(pushing):
    ws = pushing
    ws.push("clicks", [click(1), click(2)], batch_id="b1")
    clock_of(ws).advance("1h")
    ws.push("clicks", [click(2, 7.0), {"click": 1, "customer": "a", "at": at(1), "deleted": True}])
    before, online = history(ws, "clicks"), ws.materialize()
    (compacted,) = ws.compact("clicks")
    assert (compacted.pushed_rows, compacted.rows) == (4, 4)
    assert database_of(ws).count(PushedRow) == 0
    assert history(ws, "clicks").equals(before)
    assert history(ws, "clicks", as_of=2).equals(before.head(2))

    def counts(rows, **options):
        pushed = ws.push("clicks", rows, **options)
        return pushed.rows_new, pushed.rows_corrected, pushed.rows_known

    assert counts([click(1), click(2)], batch_id="b1") == (0, 0, 2)
    assert counts([click(2, 7.0)]) == (0, 0, 1)
    assert counts([click(2), click(3)]) == (1, 1, 0)
    with pytest.raises(ConflictError, match="with other rows"):
        ws.push("clicks", [click(9)], batch_id="b1")
    assert history(ws, "clicks").height == 6
    (row,) = ws.get_online_features(["clicking"], [{"customer": "a"}]).to_polars().rows()
    clock_of(ws).advance("1us")
    assert (
        ws.get_historical_features(pl.DataFrame({"customer": ["a"], "timestamp": [clock_of(ws)()]}), ["clicking"]).row(
            0
        )[2:]
        == row[1:]
    )
    assert online


def test_a_clock_set_back_after_a_move_does_not_make_a_correction_the_lesser(pushing):
    ws = pushing
    ws.push("clicks", [click(1)])
    ws.compact()
    set_clock(ws, tm.ReplayClock(at(30)))
    ws.push("clicks", [click(1, 5.0)])
    assert history(ws, "clicks")["__created"].to_list() == [int(at(50).timestamp() * 1e6)] * 2


def test_a_batch_is_forgotten_after_a_month(pushing):
    ws = pushing
    ws.apply(clicks_project(id=None))
    ws.push("clicks", [click(1)], batch_id="x")
    clock_of(ws).advance(timedelta(days=29))
    ws.compact()
    assert ws.push("clicks", [click(1)], batch_id="x").rows_known == 1
    ws.push("clicks", [click(2)])
    clock_of(ws).advance(timedelta(days=2))
    ws.compact()
    assert ws.push("clicks", [click(1)], batch_id="x").rows_new == 1


def test_pushed_rows_move_by_themselves_when_they_are_many(pushing, monkeypatch):
    monkeypatch.setattr(compaction, "_MOST_PUSHED", 5)
    ws = pushing
    ws.push("clicks", [click(n) for n in range(4)])
    assert compact_where_needed(context_of(ws)) == []
    ws.push("clicks", [click(9)])
    ws.ingest()
    assert database_of(ws).count(PushedRow) == 0
    assert history(ws, "clicks").height == 5


def test_the_second_compaction_does_nothing(pushing, monkeypatch):
    ws = pushing
    ws.push("clicks", [click(1)])
    real = compaction._are_still_there
    monkeypatch.setattr(compaction, "_are_still_there", lambda *_: False)
    assert ws.compact() == []
    assert database_of(ws).count(PushedRow) == 1
    monkeypatch.setattr(compaction, "_are_still_there", real)
    assert len(ws.compact()) == 1


def test_a_rebuilt_transformation_stands_alone(workspace):
    project = tm.Project("shop")
    frames = {"sales": orders(("a", 1, 1.0))}

    @project.source(timestamp="at")
    def sales() -> pl.DataFrame:
        return frames["sales"]

    @project.transformation(timestamp="at")
    def hourly(sales: tm.Rows) -> str:
        return 'select customer, "at", count(*) as n from sales group by all'

    workspace.apply(project)
    sequences = []
    for number in range(12):
        frames["sales"] = orders(*(("a", hour, 1.0) for hour in range(number + 1)))
        sequences.append(workspace.ingest()[-1].sequence)
    workspace.compact()
    assert [history(workspace, "hourly", as_of=q).height for q in sequences] == list(range(1, 13))


@examples(15, heavy=True, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.one_of(
            st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2), st.booleans()), min_size=1, max_size=4),
            st.just("compact"),
            st.just("needed"),
        ),
        max_size=12,
    )
)
def test_with_or_without_compaction_the_same_rows_are_known(tmp_path_factory, steps):
    folder = tmp_path_factory.mktemp("ws")
    clock = tm.ReplayClock(at(50))
    with (
        tm.connect(folder / "a.tm", create=True, clock=clock) as plain,
        tm.connect(folder / "b.tm", create=True, clock=clock) as compacted,
    ):
        for ws in (plain, compacted):
            ws.apply(clicks_project())
        for number, step in enumerate(steps):
            if isinstance(step, str):
                compacted.compact() if step == "compact" else compact_where_needed(context_of(compacted))
                continue
            clock.advance("1h")
            rows = [click(n, float(amount), deleted=deleted) for n, amount, deleted in step]
            batch = f"batch {number % 3}" if number % 2 else None
            answers = []
            for ws in (plain, compacted):
                try:
                    answers.append(ws.push("clicks", rows, batch_id=batch))
                except ConflictError as error:
                    answers.append(str(error))
            assert answers[0] == answers[1]
        for sequence in range(database_of(plain).sequence() + 1):
            assert history(plain, "clicks", as_of=sequence).equals(history(compacted, "clicks", as_of=sequence))


def test_an_online_store_that_was_behind_when_rows_moved_still_follows(pushing, monkeypatch):
    from tinymlops.features.intake import pushing as module

    ws = pushing

    def broken(*_):
        raise OSError("the disk is gone")

    # Rows of another source make sequences greater than the number of this one's rows.
    with database_of(ws).write(actor="test") as tx:
        tx.take_sequence(100)
    ws.push("clicks", [click(1)])
    ws.materialize()
    with monkeypatch.context() as patched:
        patched.setattr(module, "follow", broken)
        assert ws.push("clicks", [click(2, 8.0), click(1, 5.0)]).online == "behind"
    ws.compact()
    assert ws.push("clicks", [click(3, 9.0)]).online == "current"
    clock_of(ws).advance("1us")
    row = ws.get_online_features(["clicking"], [{"customer": "a"}]).to_polars().row(0)
    spine = pl.DataFrame({"customer": ["a"], "timestamp": [clock_of(ws)()]})
    assert row == ws.get_historical_features(spine, ["clicking"]).drop("timestamp").row(0)
    assert row[1] == 9.0
    assert stored_rows(context_of(ws), "clicks", as_of=102).height == 2


def beside(monkeypatch, owner, name, work):
    """Do some work once, just before a function is called for the first time; return what is left to do."""
    called, waiting = getattr(owner, name), [work]

    def racing(*arguments, **options):
        if waiting:
            waiting.pop()()
        return called(*arguments, **options)

    monkeypatch.setattr(owner, name, racing)
    return waiting


def in_three_files(ws):
    project = shop(orders(*(("a", hour, 1.0) for hour in (1, 2, 3))))
    ws.apply(project)
    for hours in (3, 4, 5):
        project.frames["orders"] = orders(*(("a", hour, 1.0) for hour in range(1, hours + 1)))
        ws.ingest("orders")
    assert len(live(ws, "orders")) == 3


def merge_and_remove(ws):
    ws.compact()
    assert ws.gc(grace="1us").segments == 3


@pytest.mark.parametrize("as_of", [None, 2, 4])
@pytest.mark.parametrize(
    "read", [history, lambda ws, *asked, as_of: newest_progress(context_of(ws), *asked, as_of=as_of)]
)
def test_rows_are_read_whose_files_are_merged_and_removed_meanwhile(workspace, monkeypatch, read, as_of):
    in_three_files(workspace)
    before = read(workspace, "orders", as_of=as_of)
    gc_lock = environment_of(workspace).gc_lock
    left = beside(monkeypatch, gc_lock, "shared", lambda: merge_and_remove(workspace))
    after = read(workspace, "orders", as_of=as_of)
    assert after.equals(before) if isinstance(before, pl.DataFrame) else after == before
    assert left == []
    assert len(live(workspace, "orders")) == 1


@pytest.mark.parametrize("when", ["before the pushed rows are read", "after them"])
def test_pushed_rows_that_move_into_a_file_meanwhile_are_read_once(pushing, monkeypatch, when):
    pushing.push("clicks", [click(1), click(2)])
    pushing.compact()
    pushing.push("clicks", [click(3), click(4)])
    before = history(pushing, "clicks")
    step = (stored, "read_pushed") if when.startswith("before") else (environment_of(pushing).gc_lock, "shared")
    left = beside(monkeypatch, *step, pushing.compact)
    assert history(pushing, "clicks").equals(before)
    assert left == []
    assert database_of(pushing).count(PushedRow) == 0


def test_batches_give_pushed_rows_once_that_move_into_a_file_meanwhile(pushing):
    pushing.push("clicks", [click(1), click(2)])
    pushing.compact()
    pushing.push("clicks", [click(3), click(4)])
    batches = stored_batches(context_of(pushing), "clicks")
    seen = next(batches)["click"].to_list()
    pushing.compact()
    for batch in batches:
        seen += batch["click"].to_list()
    assert sorted(seen) == [1, 2, 3, 4]
