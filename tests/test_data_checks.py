"""Checks on data: asked of rows when they come, and what becomes of rows that do not pass."""

import threading
from datetime import date, datetime, time, timedelta
from decimal import Decimal

import polars as pl
import pytest
from conftest import at
from inside import database_of, environment_of

import tinymlops as tm
from tinymlops.records import Counter
from tinymlops.stores.doctor import check as doctor
from tinymlops.stores.transaction import Transaction


def orders_of(*amounts, customer="a", start=0):
    return pl.DataFrame(
        {
            "order": [start + i for i in range(len(amounts))],
            "customer": [customer] * len(amounts),
            "at": [at(start + i) for i in range(len(amounts))],
            "amount": pl.Series(amounts, dtype=pl.Float64),
        }
    )


def shop(*rules, action="warn", id="order", orders=None, **more):  # noqa: A002
    """A project with one source of orders, which a test may change, and a check on it."""
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")
    project.frames = {"orders": orders}

    @project.source(timestamp="at", id=id)
    def orders() -> pl.DataFrame:
        return project.frames["orders"]

    @project.feature_view(entity=customer)
    def spending(orders: tm.Rows) -> tm.Features:
        return {"spent": orders["amount"].sum(window="30d"), "n": orders.count(window="30d")}

    if rules:
        project.check(orders, *rules, action=action, **more)
    return project


def pushed_shop(*rules, action="warn", id="order"):  # noqa: A002
    project = tm.Project("shop")

    @project.source(timestamp="at", id=id)
    def orders() -> tm.Schema:
        return {"order": int, "customer": str, "at": datetime, "amount": float}

    project.check(orders, *rules, action=action)
    return project


def amounts(ws):
    return ws.sql("select amount from orders order by amount")["amount"].to_list()


POSITIVE = tm.between("amount", 0)


# Warn


def test_a_warning_names_source_check_column_and_rows_and_the_rows_are_stored(workspace):
    workspace.apply(shop(POSITIVE, tm.not_null("customer"), orders=orders_of(1.0, -2.0, 3.0)))
    with pytest.warns(
        match=r"source 'orders': 1 of 3 rows do not pass between\(\"amount\", 0\): row 1 \(order=1, amount=-2.0\)"
    ):
        workspace.ingest()
    assert amounts(workspace) == [-2.0, 1.0, 3.0]
    found = {one.rule: one for one in workspace.checks.results()}
    assert found['not_null("customer")'].passed
    failed = found['between("amount", 0)']
    assert (failed.rows, failed.failed, failed.passed, failed.action, failed.moment) == (3, 1, False, "warn", "ingest")
    assert failed.sequence == database_of(workspace).sequence()


def test_known_rows_are_not_warned_of_again(workspace):
    workspace.apply(shop(POSITIVE, orders=orders_of(-2.0)))
    with pytest.warns(match="do not pass"):
        workspace.ingest()
    workspace.ingest()
    assert workspace.checks.results()[0].passed


# Fail


def test_a_failed_check_stores_nothing_and_says_what_is_wrong(workspace):
    workspace.apply(shop(POSITIVE, action="fail", orders=orders_of(1.0, -2.0)))
    with pytest.raises(tm.DataError, match="1 of 2 rows do not pass") as raised:
        workspace.ingest()
    assert "'orders'" in raised.value.message
    assert 'between("amount", 0)' in raised.value.message
    assert "row 1 (order=1, amount=-2.0)" in raised.value.message
    with pytest.raises(tm.NotFoundError):
        workspace.sql("select * from orders")
    assert workspace.checks.results()[0].passed is False
    assert workspace.checks.quarantined() == []


def test_rows_that_were_stored_before_the_check_do_not_fail_it(workspace):
    project = shop(orders=orders_of(-2.0))
    workspace.apply(project)
    workspace.ingest()
    checked = shop(POSITIVE, action="fail", orders=orders_of(-2.0, 1.0))
    workspace.apply(checked)
    (report,) = workspace.ingest()
    assert (report.rows_new, report.rows_known) == (1, 1)


# Quarantine


def test_rows_in_quarantine_keep_their_values_and_are_kept_once(workspace):
    project = shop(POSITIVE, action="quarantine", orders=orders_of(1.0, -2.0, 3.0))
    workspace.apply(project)
    with pytest.warns(match="1 of 3 rows do not pass"):
        (report,) = workspace.ingest()
    assert (report.rows_read, report.rows_new, report.rows_quarantined) == (3, 2, 1)
    assert amounts(workspace) == [1.0, 3.0]
    (kept,) = workspace.checks.quarantined()
    assert (kept.source, kept.rows, kept.rules, kept.status) == ("orders", 1, {'between("amount", 0)': 1}, "waiting")
    assert workspace.checks.rows(kept.id).to_dicts() == [
        {"order": 1, "customer": "a", "at": at(1), "amount": -2.0, "__row": 0, "__rules": 'between("amount", 0)'}
    ]
    (again,) = workspace.ingest()
    assert (again.rows_known, again.rows_quarantined) == (2, 1)
    assert len(workspace.checks.quarantined()) == 1


def test_released_rows_go_in_as_if_they_came_now(workspace):
    project = shop(POSITIVE, action="quarantine", orders=orders_of(1.0, -2.0))
    workspace.apply(project)
    with pytest.warns(match="quarantine"):
        workspace.ingest()
    workspace.materialize()
    (kept,) = workspace.checks.quarantined()
    report = workspace.checks.release(kept.id)
    assert (report.rows_new, report.rows_known) == (1, 0)
    assert amounts(workspace) == [-2.0, 1.0]
    assert workspace.checks.quarantined() == []
    (released,) = workspace.checks.quarantined(status="released")
    assert released.settled_by
    (again,) = workspace.ingest()
    assert (again.rows_known, again.rows_quarantined) == (2, 0)
    with pytest.raises(tm.ConflictError, match="was released"):
        workspace.checks.release(kept.id)
    assert [one.level for one in doctor(environment_of(workspace), lambda _: None) if one.level == "damaged"] == []


def test_a_released_row_that_came_again_meanwhile_is_known(workspace):
    project = shop(POSITIVE, action="quarantine", orders=orders_of(1.0, -2.0))
    workspace.apply(project)
    with pytest.warns(match="quarantine"):
        workspace.ingest()
    without = shop(orders=orders_of(1.0, -2.0))
    workspace.apply(without)
    workspace.ingest()
    assert amounts(workspace) == [-2.0, 1.0]
    (kept,) = workspace.checks.quarantined()
    assert workspace.checks.release(kept.id).rows_known == 1
    assert amounts(workspace) == [-2.0, 1.0]


@pytest.mark.parametrize("identifier", ["order", None])
def test_dropped_rows_stay_out_and_lose_their_values(workspace, identifier):
    project = shop(POSITIVE, action="quarantine", id=identifier, orders=orders_of(1.0, -2.0))
    workspace.apply(project)
    with pytest.warns(match="quarantine"):
        workspace.ingest()
    (kept,) = workspace.checks.quarantined()
    dropped = workspace.checks.drop(kept.id)
    assert dropped.status == "dropped"
    assert dropped.rows_sha256 != kept.rows_sha256
    workspace.gc(grace="1us")
    assert not environment_of(workspace).blobs.exists(kept.rows_sha256)
    (again,) = workspace.ingest()
    assert (again.rows_known, again.rows_quarantined) == (1, 1)
    assert workspace.checks.quarantined() == []
    with pytest.raises(tm.ConflictError, match="was dropped"):
        workspace.checks.rows(kept.id)


def test_a_bad_correction_waits_and_the_version_before_stays(workspace):
    project = shop(POSITIVE, action="quarantine", orders=orders_of(1.0, 2.0))
    workspace.apply(project)
    workspace.ingest()
    project.frames["orders"] = orders_of(1.0, -2.0)
    with pytest.warns(match="quarantine"):
        (report,) = workspace.ingest("orders", full=True)
    assert (report.rows_corrected, report.rows_deleted, report.rows_quarantined) == (0, 0, 1)
    assert amounts(workspace) == [1.0, 2.0]
    (kept,) = workspace.checks.quarantined()
    assert workspace.checks.release(kept.id).rows_corrected == 1
    assert amounts(workspace) == [-2.0, 1.0]


def test_rows_without_ids_are_kept_as_often_as_they_are(workspace):
    row = orders_of(-2.0)
    project = shop(POSITIVE, action="quarantine", id=None, orders=pl.concat([row, row]))
    workspace.apply(project)
    with pytest.warns(match="2 of 2"):
        workspace.ingest()
    project.frames["orders"] = pl.concat([row] * 3)
    with pytest.warns(match="1 of 3"):
        workspace.ingest()
    for kept in workspace.checks.quarantined():
        workspace.checks.release(kept.id)
    assert amounts(workspace) == [-2.0] * 3
    (report,) = workspace.ingest()
    assert (report.rows_known, report.rows_new) == (3, 0)


def test_a_quarantine_is_in_backups(workspace, tmp_path):
    workspace.apply(shop(POSITIVE, action="quarantine", orders=orders_of(-2.0)))
    with pytest.warns(match="quarantine"):
        workspace.ingest()
    workspace.backup(tmp_path / "kept")
    tm.restore(tmp_path / "kept", tmp_path / "again.tm")
    with tm.connect(tmp_path / "again.tm") as again:
        (kept,) = again.checks.quarantined()
        assert again.checks.rows(kept.id)["amount"].to_list() == [-2.0]
        again.gc(grace="1us")
        assert again.checks.rows(kept.id).height == 1


# Batches


def test_duplicates_are_kept_aside_and_the_first_goes_in(workspace):
    rows = orders_of(1.0, 1.0, 2.0).with_columns(order=pl.Series([7, 7, 8]))
    project = shop(tm.unique("order"), action="quarantine", id=None, orders=rows)
    workspace.apply(project)
    with pytest.warns(match="1 of 3"):
        workspace.ingest()
    assert amounts(workspace) == [1.0, 2.0]
    workspace.ingest()
    assert len(workspace.checks.quarantined()) == 1


def test_a_new_duplicate_of_a_known_row_is_the_one_that_waits(workspace):
    project = shop(tm.unique("order"), action="quarantine", id=None, orders=orders_of(1.0))
    workspace.apply(project)
    workspace.ingest()
    project.frames["orders"] = pl.concat([orders_of(5.0), orders_of(1.0)])
    with pytest.warns(match="1 of 2"):
        workspace.ingest()
    assert amounts(workspace) == [1.0]
    assert workspace.checks.rows(1)["amount"].to_list() == [5.0]


def test_a_batch_of_another_size_waits_as_a_whole_and_deletes_nothing(workspace):
    project = shop(tm.volume(2), action="quarantine", orders=orders_of(1.0, 2.0, 3.0))
    workspace.apply(project)
    workspace.ingest()
    project.frames["orders"] = orders_of(9.0)
    with pytest.warns(match=r"1 of 1 rows do not pass volume\(2\)"):
        (report,) = workspace.ingest("orders", full=True)
    assert (report.rows_deleted, report.rows_quarantined) == (0, 1)
    assert amounts(workspace) == [1.0, 2.0, 3.0]
    project.frames["orders"] = orders_of(9.0, 2.0, 3.0)
    workspace.ingest()
    assert amounts(workspace) == [2.0, 3.0, 9.0]
    assert workspace.checks.release(1).rows_known == 1


def test_an_old_source_is_not_fresh(tmp_path):
    clock = tm.ReplayClock(at(5))
    with tm.connect(tmp_path / "shop.tm", create=True, clock=clock) as ws:
        project = shop(tm.fresh("2h"), action="fail", orders=orders_of(1.0, 2.0, 3.0, 4.0))
        ws.apply(project)
        ws.ingest()
        clock.advance("3h")
        with pytest.raises(tm.DataError, match="5h before now"):
            ws.ingest()


def test_another_distribution_is_told_and_the_same_is_not(tmp_path):
    clock = tm.ReplayClock(at(2_000))
    with tm.connect(tmp_path / "shop.tm", create=True, clock=clock) as ws:
        project = shop(
            tm.same_distribution("amount", as_of="30d"), action="fail", orders=orders_of(*map(float, range(500)))
        )
        ws.apply(project)
        ws.ingest()
        assert ws.checks.results()[0].passed is None
        project.frames["orders"] = pl.concat(
            [project.frames["orders"], orders_of(*map(float, range(0, 500, 2)), start=1_700)]
        )
        ws.ingest()
        assert ws.checks.results()[0].passed
        project.frames["orders"] = pl.concat([project.frames["orders"], orders_of(*[999.0] * 390, start=1_300)])
        with pytest.raises(tm.DataError, match="PSI"):
            ws.ingest()


# Push


def rows(*amounts, start=0):
    return orders_of(*amounts, start=start).to_dicts()


def test_a_refused_push_stores_nothing_and_is_told(workspace):
    workspace.apply(pushed_shop(POSITIVE, action="fail"))
    with pytest.raises(tm.DataError, match="1 of 2 rows do not pass"):
        workspace.push("orders", rows(1.0, -2.0))
    assert amounts(workspace) == []
    (result,) = workspace.checks.results()
    assert (result.moment, result.failed, result.rows) == ("push", 1, 2)
    workspace.push("orders", rows(1.0))
    assert len(workspace.checks.results()) == 1


def test_pushed_rows_wait_once_and_are_released_once(workspace):
    workspace.apply(pushed_shop(POSITIVE, action="quarantine"))
    with pytest.warns(match="quarantine"):
        pushed = workspace.push("orders", rows(1.0, -2.0))
    assert (pushed.rows_new, pushed.rows_known, pushed.rows_quarantined) == (1, 0, 1)
    again = workspace.push("orders", rows(1.0, -2.0))
    assert (again.rows_new, again.rows_known, again.rows_quarantined) == (0, 1, 1)
    (kept,) = workspace.checks.quarantined()
    released = workspace.checks.release(kept.id)
    assert released.rows_new == 1
    assert workspace.push("orders", rows(1.0, -2.0)).rows_known == 2
    assert amounts(workspace) == [-2.0, 1.0]


def test_a_replayed_batch_of_a_push_changes_nothing(workspace):
    workspace.apply(pushed_shop(POSITIVE, action="quarantine", id=None))
    with pytest.warns(match="quarantine"):
        workspace.push("orders", rows(1.0, -2.0), batch_id="one")
    replay = workspace.push("orders", rows(1.0, -2.0), batch_id="one")
    assert (replay.rows_known, replay.rows_quarantined) == (2, 0)
    assert len(workspace.checks.quarantined()) == 1
    workspace.checks.release(1)
    assert amounts(workspace) == [-2.0, 1.0]


def test_a_row_that_was_pushed_before_the_check_is_known(workspace):
    project = pushed_shop(tm.not_null("customer"))
    workspace.apply(project)
    workspace.push("orders", rows(-2.0))
    workspace.apply(pushed_shop(POSITIVE, action="fail"))
    assert workspace.push("orders", rows(-2.0)).rows_known == 1


def test_a_push_that_waits_as_a_whole_keeps_its_deletes(workspace):
    workspace.apply(pushed_shop(tm.volume(max_rows=1), action="quarantine"))
    workspace.push("orders", rows(1.0))
    two = [{**rows(1.0)[0], "deleted": True}, {**rows(5.0, start=3)[0], "deleted": False}]
    with pytest.warns(match="quarantine"):
        workspace.push("orders", [*two, {**rows(6.0, start=4)[0], "deleted": False}])
    assert amounts(workspace) == [1.0]
    workspace.checks.release(1)
    assert amounts(workspace) == [5.0, 6.0]


# What may go wrong


EVERY_TYPE = {
    "order": pl.UInt64(),
    "at": pl.Datetime("us", "UTC"),
    "amount": pl.Float64(),
    "price": pl.Decimal(9, 2),
    "day": pl.Date(),
    "clock": pl.Time(),
    "took": pl.Duration("us"),
    "kind": pl.Enum(["a", "b"]),
    "label": pl.Categorical(),
    "tags": pl.List(pl.String()),
    "raw": pl.Binary(),
    "größe 😀": pl.Int8(),
    "small": pl.Float32(),
    "nothing": pl.Null(),
}


def one_of_every_type(amount):
    row = {
        "order": 2**64 - 1,
        "at": at(0),
        "amount": amount,
        "price": Decimal("1.50"),
        "day": date(2024, 1, 1),
        "clock": time(1, 2, 3),
        "took": timedelta(seconds=5),
        "kind": "b",
        "label": "x",
        "tags": ["a", None],
        "raw": b"\x00\xff",
        "größe 😀": -7,
        "small": 0.1,
        "nothing": None,
    }
    return pl.DataFrame([row], schema=EVERY_TYPE)


def test_values_of_every_type_wait_and_are_released_as_they_were(workspace):
    project = tm.Project("shop")
    frames = [one_of_every_type(-1.0)]

    @project.source(timestamp="at", id="order")
    def orders() -> pl.DataFrame:
        return frames[0]

    project.check(orders, POSITIVE, tm.not_null("nothing"), action="quarantine")
    workspace.apply(project)
    with pytest.warns(match="quarantine"):
        workspace.ingest()
    kept = workspace.checks.rows(1)
    assert kept.drop("__row", "__rules").equals(frames[0].cast({"label": pl.String()}))
    assert kept["__rules"].to_list() == ['between("amount", 0); not_null("nothing")']
    workspace.ingest()
    assert len(workspace.checks.quarantined()) == 1
    workspace.checks.release(1)
    (report,) = workspace.ingest()
    assert (report.rows_known, report.rows_quarantined) == (1, 0)


def test_an_empty_read_can_be_too_few_rows_and_too_old(workspace):
    workspace.apply(shop(POSITIVE, tm.volume(1), tm.fresh("1h"), action="quarantine", orders=orders_of()))
    with pytest.warns(match="does not pass"):
        (report,) = workspace.ingest()
    assert report.rows_quarantined == 0
    assert workspace.checks.quarantined() == []
    assert {one.rule: one.passed for one in workspace.checks.results()} == {
        'between("amount", 0)': True,
        "volume(1)": False,
        'fresh("1h")': False,
    }


def test_a_rebuild_checks_every_row_and_lets_released_ones_pass(workspace):
    workspace.apply(shop(POSITIVE, action="quarantine", orders=orders_of(1.0, -2.0)))
    with pytest.warns(match="quarantine"):
        workspace.ingest()
    (report,) = workspace.ingest("orders", rebuild=True)
    assert report.rows_quarantined == 1
    assert amounts(workspace) == [1.0]
    workspace.checks.release(1)
    (report,) = workspace.ingest("orders", rebuild=True)
    assert report.rows_quarantined == 0
    assert amounts(workspace) == [-2.0, 1.0]


def test_rows_of_a_renamed_source_are_released_into_it(workspace):
    workspace.apply(shop(POSITIVE, action="quarantine", orders=orders_of(1.0, -2.0)))
    with pytest.warns(match="quarantine"):
        workspace.ingest()
    project = tm.Project("shop")

    @project.source(timestamp="at", id="order", was="orders")
    def sales() -> pl.DataFrame:
        return orders_of(1.0, -2.0)

    workspace.apply(project)
    assert workspace.checks.release(1).rows_new == 1
    assert workspace.sql("select count(*) as n from sales")["n"].item() == 2


def test_rows_of_a_source_that_is_gone_can_only_be_dropped(workspace):
    workspace.apply(shop(POSITIVE, action="quarantine", orders=orders_of(-2.0)))
    with pytest.warns(match="quarantine"):
        workspace.ingest()
    workspace.apply(tm.Project("shop"))
    with pytest.raises(tm.DefinitionError, match="is not defined any more"):
        workspace.checks.release(1)
    assert workspace.checks.drop(1).status == "dropped"


def test_pushed_rows_are_released_under_a_schema_that_has_grown(workspace):
    workspace.apply(pushed_shop(POSITIVE, action="quarantine"))
    with pytest.warns(match="quarantine"):
        workspace.push("orders", rows(-2.0))
    project = tm.Project("shop")

    @project.source(timestamp="at", id="order")
    def orders() -> tm.Schema:
        return {"order": int, "customer": str, "at": datetime, "amount": float, "note": str}

    workspace.apply(project)
    assert workspace.checks.release(1).rows_new == 1
    assert workspace.sql("select note from orders")["note"].to_list() == [None]


def test_of_two_who_release_at_once_one_does(tmp_path):
    with tm.connect(tmp_path / "shop.tm", create=True) as ws:
        ws.apply(pushed_shop(POSITIVE, action="quarantine", id=None))
        with pytest.warns(match="quarantine"):
            ws.push("orders", rows(-2.0, -3.0))
        said = []

        def release():
            try:
                said.append(ws.checks.release(1).rows_new)
            except tm.ConflictError as error:
                said.append(error.message)

        threads = [threading.Thread(target=release) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert said.count(2) == 1
        assert amounts(ws) == [-3.0, -2.0]


def test_a_number_that_is_no_quarantine_is_not_found(workspace):
    for do in (workspace.checks.release, workspace.checks.drop, workspace.checks.rows):
        with pytest.raises(tm.NotFoundError, match="no quarantine 7"):
            do(7)


def test_no_value_of_a_row_is_in_the_audit_log_or_the_results(workspace):
    workspace.apply(shop(tm.one_of("customer", ["b"]), action="quarantine", orders=orders_of(1.0, customer="Ada")))
    with pytest.warns(match="quarantine"):
        workspace.ingest()
    workspace.checks.drop(1)
    workspace.apply(shop(tm.one_of("customer", ["b"]), action="fail", orders=orders_of(1.0, start=5, customer="Ada")))
    with pytest.raises(tm.DataError, match="'Ada'"):
        workspace.ingest()
    for table in ("audit", "check_results", "quarantines"):
        assert "Ada" not in str(workspace.sql(f"select * from tinymlops.{table}").to_dicts())
    actions = workspace.sql("select action from audit where action like 'checks%' order by n")["action"].to_list()
    assert actions == ["checks.quarantine", "checks.drop", "checks.refuse"]


def test_rows_and_those_that_are_kept_aside_are_one_commit(workspace):
    def commits():
        return database_of(workspace).get(Counter, name="commits").value

    workspace.apply(shop(POSITIVE, action="quarantine", orders=orders_of(1.0, -2.0)))
    before = commits()
    with pytest.warns(match="quarantine"):
        workspace.ingest()
    assert commits() == before + 1
    workspace.checks.release(1)
    assert commits() == before + 2
    workspace.apply(pushed_shop(POSITIVE, action="quarantine"))
    before = commits()
    with pytest.warns(match="quarantine"):
        workspace.push("orders", rows(5.0, -6.0, start=7))
    assert commits() == before + 1


def test_what_is_not_committed_keeps_nothing_aside(workspace, monkeypatch):
    workspace.apply(pushed_shop(POSITIVE, action="quarantine"))
    monkeypatch.setattr(Transaction, "audit", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        workspace.push("orders", rows(1.0, -2.0))
    monkeypatch.undo()
    assert workspace.checks.quarantined() == []
    assert list(workspace.checks.results()) == []
    assert amounts(workspace) == []
    assert workspace.gc(grace="1us").orphans == 1


def test_a_quarantine_counts_the_rows_that_it_has(workspace):
    project = shop(POSITIVE, action="quarantine", orders=orders_of(-1.0))
    workspace.apply(project)
    with pytest.warns(match="1 of 1"):
        workspace.ingest()
    project.frames["orders"] = orders_of(-1.0, -2.0)
    with pytest.warns(match="1 of 2"):
        workspace.ingest()
    assert [(one.rows, one.rules) for one in workspace.checks.quarantined()] == [(1, {'between("amount", 0)': 1})] * 2
