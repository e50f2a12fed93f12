"""Some rows of a quarantine released or dropped while the others wait, and rows that have newer versions by now."""

import multiprocessing

import polars as pl
import pytest
from inside import environment_of
from test_data_checks import POSITIVE, amounts, orders_of, pushed_shop, shop

import tinymlops as tm
from tinymlops.stores.doctor import check as doctor


def rows(*amounts, start=0):
    return orders_of(*amounts, start=start)


@pytest.fixture(params=["ingest", "push"])
def held(request, workspace):
    """Three rows that wait, of the orders 1, 2 and 4; `come` brings more, of the source as it is now."""
    if request.param == "push":
        workspace.apply(pushed_shop(POSITIVE, action="quarantine"))
        workspace.come = lambda frame: workspace.push("orders", frame)
        workspace.unchecked = lambda: workspace.apply(pushed_shop(POSITIVE))
    else:
        project = shop(POSITIVE, action="quarantine", orders=None)
        workspace.apply(project)

        def come(frame):
            project.frames["orders"] = frame
            return workspace.ingest()[0]

        def unchecked():
            other = shop(POSITIVE)
            other.frames = project.frames
            workspace.apply(other)

        workspace.come, workspace.unchecked = come, unchecked
    with pytest.warns(match="3 of 5 rows"):
        workspace.come(rows(1.0, -2.0, -3.0, 4.0, -5.0))
    return workspace


def waiting(ws):
    return [(one.id, one.rows, one.rules) for one in ws.checks.quarantined()]


def numbers(ws, number=1):
    return ws.checks.rows(number).select("__row", "amount").rows()


def damage(ws):
    return [one for one in doctor(environment_of(ws), lambda _: None) if one.level == "damaged"]


@pytest.mark.parametrize("chosen", [{"ids": [2]}, {"ids": ["2"]}, {"rows": [1]}, {"rows": pl.Series([1])}])
def test_one_row_is_released_and_the_others_wait_on(held, chosen):
    report = held.checks.release(1, **chosen)
    assert (report.rows_new, report.rows_known) == (1, 0)
    assert amounts(held) == [-3.0, 1.0, 4.0]
    assert waiting(held) == [(1, 2, {'between("amount", 0)': 2})]
    assert numbers(held) == [(0, -2.0), (2, -5.0)]
    (released,) = held.checks.quarantined(status="released")
    assert (released.id, released.rows, released.rules) == (2, 1, {'between("amount", 0)': 1})
    held.checks.release(1, rows=[2])  # the number that it had from the beginning
    assert numbers(held) == [(0, -2.0)]
    held.checks.release(1)
    assert amounts(held) == [-5.0, -3.0, -2.0, 1.0, 4.0]
    assert waiting(held) == []
    assert damage(held) == []


def test_one_row_is_dropped_and_the_others_wait_on(held):
    dropped = held.checks.drop(1, ids=[1, 4])
    assert (dropped.id, dropped.rows, dropped.status) == (2, 2, "dropped")
    assert numbers(held) == [(1, -3.0)]
    again = held.come(rows(1.0, -2.0, -3.0, 4.0, -5.0))
    assert (again.rows_known, again.rows_quarantined) == (2, 3)
    assert waiting(held) == [(1, 1, {'between("amount", 0)': 1})]
    held.checks.release(1)
    again = held.come(rows(1.0, -2.0, -3.0, 4.0, -5.0))
    assert (again.rows_known, again.rows_quarantined) == (3, 2)
    assert amounts(held) == [-3.0, 1.0, 4.0]
    held.gc(grace="1us")
    stored = b"".join(path.read_bytes() for path in (environment_of(held).path / "blobs").rglob("*") if path.is_file())
    assert b"PAR1" in stored
    assert damage(held) == []


def test_both_are_audited_with_what_waits_on(held):
    held.checks.release(1, rows=[0])
    held.checks.drop(1, rows=[1])
    held.checks.drop(1)
    told = held.sql("select action, detail from audit where action like 'checks.%' order by n").rows()
    assert [action for action, _ in told] == ["checks.quarantine", "checks.release", "checks.drop", "checks.drop"]
    assert '"of":1,"waiting":2' in told[1][1].replace(" ", "")
    assert '"of":1,"waiting":1' in told[2][1].replace(" ", "")
    assert '"of"' not in told[3][1]


@pytest.mark.parametrize(
    ("chosen", "error", "message"),
    [
        ({"ids": [2, 77]}, tm.NotFoundError, "quarantine 1 has no row of order 77"),
        ({"rows": [0, 3]}, tm.NotFoundError, "quarantine 1 has no row of __row 3"),
        ({"rows": []}, tm.DataError, "no row was chosen"),
        ({"rows": [0], "ids": [1]}, tm.DataError, "by ids= and by rows="),
        ({"ids": "12"}, tm.DataError, "is not a list"),
    ],
)
@pytest.mark.parametrize("verb", ["release", "drop"])
def test_a_choice_that_cannot_be_made_changes_nothing(held, verb, chosen, error, message):
    with pytest.raises(error, match=message):
        getattr(held.checks, verb)(1, **chosen)
    assert len(numbers(held)) == 3
    assert amounts(held) == [1.0, 4.0]


def test_rows_without_ids_are_chosen_by_number(workspace):
    workspace.apply(pushed_shop(POSITIVE, action="quarantine", id=None))
    with pytest.warns(match="quarantine"):
        workspace.push("orders", pl.concat([rows(-1.0), rows(-1.0), rows(2.0)]))
    with pytest.raises(tm.DataError, match="source 'orders' has no ids"):
        workspace.checks.release(1, ids=[0])
    assert workspace.checks.release(1, rows=[1]).rows_new == 1
    assert amounts(workspace) == [-1.0, 2.0]
    assert workspace.checks.release(1).rows_new == 1
    assert amounts(workspace) == [-1.0, -1.0, 2.0]


def test_equal_rows_of_a_read_source_are_released_one_by_one(workspace):
    project = shop(POSITIVE, action="quarantine", id=None, orders=pl.concat([rows(-1.0), rows(-1.0), rows(2.0)]))
    workspace.apply(project)
    with pytest.warns(match="quarantine"):
        workspace.ingest()
    for count, kept in ((1, 1), (2, 0)):
        assert workspace.checks.release(1, rows=[count - 1]).rows_new == 1
        assert amounts(workspace) == [-1.0] * count + [2.0]
        assert workspace.ingest()[0].rows_quarantined == kept


def test_rows_of_a_rebuilt_transformation_are_released_one_by_one(workspace):
    project = tm.Project("shop")

    @project.source(timestamp="at", id="order")
    def orders() -> pl.DataFrame:
        return rows(1.0, -2.0, -3.0)

    @project.transformation(timestamp="at", id="order")
    def doubled(orders: tm.Rows) -> pl.DataFrame:
        return orders.with_columns(pl.col("amount") * 2)

    project.check(doubled, POSITIVE, action="quarantine")
    workspace.apply(project)
    with pytest.warns(match="quarantine"):
        workspace.ingest()
    workspace.checks.release(1, ids=[2])
    assert workspace.sql("select amount from doubled order by 1")["amount"].to_list() == [-6.0, 2.0]
    assert numbers(workspace) == [(0, -4.0)]
    workspace.checks.release(1)
    assert workspace.sql("select amount from doubled order by 1")["amount"].to_list() == [-6.0, -4.0, 2.0]


def test_some_rows_of_a_source_that_is_gone_are_dropped_by_number(held):
    held.apply(tm.Project("shop"))
    with pytest.raises(tm.DefinitionError, match="is not defined any more"):
        held.checks.drop(1, ids=[1])
    assert held.checks.drop(1, rows=[0]).rows == 1
    assert len(numbers(held)) == 2


# Newer versions


def test_a_row_does_not_take_the_place_of_a_newer_version_unless_asked(held):
    held.come(rows(20.0, start=1))
    with pytest.raises(tm.ConflictError, match="1 rows of quarantine 1 would take the place of .*: order 1") as caught:
        held.checks.release(1)
    assert "replace_newer=True" in caught.value.hint
    assert amounts(held) == [1.0, 4.0, 20.0]
    assert len(numbers(held)) == 3
    assert held.checks.release(1, ids=[2, 4]).rows_new == 2
    with pytest.raises(tm.ConflictError):
        held.checks.release(1, ids=[1])
    assert held.checks.release(1, replace_newer=True).rows_corrected == 1
    assert amounts(held) == [-5.0, -3.0, -2.0, 1.0, 4.0]


def test_a_version_that_compaction_moved_is_newer_too(workspace):
    workspace.apply(pushed_shop(POSITIVE, action="quarantine"))
    with pytest.warns(match="quarantine"):
        workspace.push("orders", rows(1.0, -2.0))
    workspace.push("orders", rows(20.0, start=1))
    workspace.compact("orders")
    with pytest.raises(tm.ConflictError, match="would take the place"):
        workspace.checks.release(1)


def test_an_older_version_is_replaced(held):
    with pytest.warns(match="quarantine"):
        held.come(rows(-40.0, start=3))
    assert held.checks.release(2).rows_corrected == 1
    assert amounts(held) == [-40.0, 1.0]


def test_the_same_row_that_came_since_is_known_and_not_a_newer_version(held):
    held.unchecked()
    with pytest.warns(match="do not pass"):
        held.come(rows(-2.0, start=1))
    report = held.checks.release(1)
    assert (report.rows_new, report.rows_known) == (2, 1)


def test_a_deleted_event_does_not_come_back_by_release(workspace):
    workspace.apply(pushed_shop(POSITIVE, action="quarantine"))
    workspace.push("orders", rows(1.0))
    with pytest.warns(match="quarantine"):
        workspace.push("orders", rows(-1.0))
    workspace.push("orders", rows(1.0).with_columns(deleted=True))
    with pytest.raises(tm.ConflictError, match="would take the place"):
        workspace.checks.release(1)
    assert amounts(workspace) == []


@pytest.mark.parametrize("order", [(-1.0, 5.0), (5.0, -1.0)])
def test_of_two_rows_of_an_id_in_one_batch_the_good_one_stays(workspace, order):
    workspace.apply(pushed_shop(POSITIVE, action="quarantine"))
    with pytest.warns(match="1 of 2 rows"):
        workspace.push("orders", pl.concat([rows(order[0]), rows(order[1])]))
    assert amounts(workspace) == [5.0]
    with pytest.raises(tm.ConflictError, match="stored with them or since: order 0"):
        workspace.checks.release(1)
    workspace.checks.release(1, replace_newer=True)
    assert amounts(workspace) == [-1.0]


# At once


def _release(path, barrier, said, chosen):
    with tm.connect(path) as ws:
        barrier.wait()
        try:
            said.put(ws.checks.release(1, rows=chosen).rows_new)
        except tm.TinyMLOpsError as error:
            said.put(error.message)


@pytest.mark.parametrize("chosen", [None, [0, 1]])
def test_of_two_processes_that_release_at_once_one_does(tmp_path, chosen):
    path = tmp_path / "shop.tm"
    with tm.connect(path, create=True) as ws:
        ws.apply(pushed_shop(POSITIVE, action="quarantine"))
        with pytest.warns(match="quarantine"):
            ws.push("orders", rows(-1.0, -2.0, -3.0))
    spawn = multiprocessing.get_context("spawn")
    barrier, said = spawn.Barrier(2), spawn.Queue()
    both = [spawn.Process(target=_release, args=(path, barrier, said, chosen)) for _ in range(2)]
    for one in both:
        one.start()
    answers = [said.get(timeout=120) for _ in both]
    for one in both:
        one.join()
    assert [one for one in answers if isinstance(one, int)] == [3 if chosen is None else 2]
    (refused,) = (one for one in answers if isinstance(one, str))
    assert "released" in refused or "has no row" in refused
    with tm.connect(path) as ws:
        assert len(amounts(ws)) == (3 if chosen is None else 2)
        assert damage(ws) == []


def test_a_column_of_which_no_value_has_come_yet_is_null(workspace):
    rules = (tm.between("note", 0, 1), tm.one_of("note", ["a"]), tm.matches("note", "a"))
    bare = orders_of(1.0, 2.0).with_columns(note=pl.Series([None, None], dtype=pl.Null))
    workspace.apply(shop(*rules, action="fail", orders=bare))
    assert workspace.ingest()[0].rows_new == 2
    workspace.apply(shop(tm.not_null("note"), action="fail", orders=orders_of(3.0, start=7).with_columns(note=None)))
    with pytest.raises(tm.DataError, match="1 of 1 rows do not pass"):
        workspace.ingest()
