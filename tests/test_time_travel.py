"""Time travel: a read as of a sequence ignores later rows; a build can be repeated."""

import polars as pl
import pytest
from conftest import at, shop
from inside import context_of, database_of, set_clock

import tinymlops as tm
from tinymlops.errors import DataError, NotFoundError
from tinymlops.features.history import reproducing, training_sets
from tinymlops.features.history.stored import current_rows, stored_rows

SPINE = pl.DataFrame({"customer": ["a", "b"], "timestamp": [at(60), at(60)]})


def orders(*rows):
    return pl.DataFrame(
        [{"order": i, "customer": c, "at": at(h), "amount": a} for i, c, h, a in rows],
        schema={"order": pl.Int64, "customer": pl.String, "at": pl.Datetime("us", "UTC"), "amount": pl.Float64},
    )


def visits(*rows):
    return pl.DataFrame(
        [{"visit": i, "customer": c, "at": at(h)} for i, c, h in rows],
        schema={"visit": pl.Int64, "customer": pl.String, "at": pl.Datetime("us", "UTC")},
    )


def read(ws, as_of=None):
    return ws.get_historical_features(SPINE, ["spending"], as_of=as_of).select("last_amount", "spent_1d").rows()


def derived(frames, amount="sum(amount)"):
    """A project whose view and spine read a rebuilt transformation of orders."""
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at", id="order")
    def orders() -> pl.DataFrame:
        return frames["orders"]

    @project.source(timestamp="at", id="visit")
    def visits() -> pl.DataFrame:
        return frames["visits"]

    @project.transformation(timestamp="at")
    def daily(orders: tm.Rows) -> str:
        return f"""select customer, date_trunc('day', "at") + interval 1 day as "at", {amount} as amount
                   from orders group by all"""

    @project.feature_view(entity=customer)
    def by_day(daily: tm.Rows) -> tm.Features:
        return {"last": daily["amount"].last(), "n": daily.count(window="7d")}

    @project.label(entity=customer, horizon="1d")
    def buys(orders: tm.Rows) -> tm.Label:
        return (orders["amount"] > 0).last()

    project.training_set("days", spine=visits, label=buys, features=[by_day])
    return project


def test_a_read_as_of_a_sequence_sees_no_later_row(workspace):
    project = shop(orders((1, "a", 50, 1.0), (2, "b", 51, 2.0)), order_options={"id": "order", "known": "latest"})
    workspace.apply(project)
    (first,) = workspace.ingest("orders")
    project.frames["orders"] = orders((1, "a", 50, 9.0), (2, "b", 51, 2.0), (3, "a", 40, 4.0))
    (second,) = workspace.ingest("orders")
    project.frames["orders"] = orders((1, "a", 50, 9.0), (3, "a", 40, 4.0))
    (third,) = workspace.ingest("orders", full=True)
    assert read(workspace, as_of=first.sequence) == [(1.0, 1.0), (2.0, 2.0)]
    assert read(workspace, as_of=second.sequence) == [(9.0, 13.0), (2.0, 2.0)]
    assert read(workspace, as_of=third.sequence) == read(workspace) == [(9.0, 13.0), (None, 0.0)]
    assert read(workspace, as_of=0) == [(None, 0.0), (None, 0.0)]
    assert [current_rows(context_of(workspace), "orders", as_of=q).height for q in (0, 1, 2, 4, 5)] == [0, 1, 2, 3, 2]


def test_a_sequence_that_never_was_is_refused(workspace):
    workspace.apply(shop(orders((1, "a", 50, 1.0))))
    workspace.ingest("orders")
    for wrong in (2, -1, True, "1", 1.0):
        with pytest.raises(DataError, match="is not a sequence of this workspace, which has come to 1"):
            read(workspace, as_of=wrong)
    with pytest.raises(DataError, match="is not a sequence"):
        workspace.get_training_data("visits_to_orders", as_of=7)


def test_a_training_set_is_the_same_after_late_rows_corrections_and_deletes(workspace):
    first = [(i, "ab"[i % 2], 3 * i, float(i)) for i in range(60)]
    project = shop(orders(*first), visits(*((i, "ab"[i % 2], 5 * i) for i in range(25))), order_options={"id": "order"})
    workspace.apply(project)
    workspace.ingest()
    data = workspace.get_training_data("visits_to_orders", test_from=at(72))
    project.frames["orders"] = orders(*((i, c, h, -a) for i, c, h, a in first[5:]), (99, "a", 4, 100.0))
    project.frames["visits"] = visits((0, "b", 2), (77, "a", 1))
    workspace.ingest("orders", "visits", full=True, complete_until=at(1000))
    other = workspace.get_training_data("visits_to_orders", test_from=at(72))
    assert other.fingerprint != data.fingerprint
    again = workspace.reproduce(data.build_id)
    assert again.fingerprint == data.fingerprint
    assert again.train.X.equals(data.train.X)
    assert again.test.y.equals(data.test.y)
    assert again.train.spine.equals(data.train.spine)
    assert again.report == data.report
    verified = workspace.verify(data.build_id)
    assert verified.same
    assert verified.engines == {}
    assert "the same" in repr(verified)
    assert workspace.verify("visits_to_orders").build_id == other.build_id
    assert workspace.get_training_data("visits_to_orders", test_from=at(72), as_of=data.sequence).fingerprint == (
        data.fingerprint
    )


def test_what_is_complete_is_what_was_known_to_be_complete_then(workspace):
    project = shop(orders((1, "a", 1, 5.0), (2, "a", 30, 1.0)), visits((0, "a", 0), (1, "a", 26)))
    workspace.apply(project)
    workspace.ingest()
    data = workspace.get_training_data("visits_to_orders")
    (said,) = workspace.ingest("orders", complete_until=at(100))  # no row: only a declaration, which takes a number
    assert said.sequence == data.sequence + 1
    assert data.report.immature == 1
    assert workspace.get_training_data("visits_to_orders").report.immature == 0
    assert workspace.get_training_data("visits_to_orders", as_of=data.sequence).report.immature == 1
    assert workspace.verify(data.build_id).same


def test_an_older_definition_builds_what_it_built(workspace):
    rows = orders(*((i, "a", 2 * i, float(i)) for i in range(50)))
    known = visits(*((i, "a", 3 * i) for i in range(20)))
    workspace.apply(shop(rows, known))
    workspace.ingest()
    data = workspace.get_training_data("visits_to_orders")
    workspace.apply(shop(rows, known, features=lambda orders: {"spent_1d": orders["amount"].mean(window="2d")}))
    assert workspace.get_training_data("visits_to_orders").fingerprint != data.fingerprint
    again = workspace.reproduce(data.build_id)
    assert again.fingerprint == data.fingerprint
    assert again.train.X.columns == ["last_amount", "spent_1d"]
    assert again.definitions == data.definitions


def test_a_rebuilt_transformation_is_read_as_it_stood(workspace):
    frames = {
        "orders": orders(*((i, "a", 2 * i, float(i)) for i in range(50))),
        "visits": visits(*((i, "a", 3 * i) for i in range(20))),
    }
    workspace.apply(derived(frames))
    reports = workspace.ingest()
    data = workspace.get_training_data("days")
    then = stored_rows(context_of(workspace), "daily")
    frames["orders"] = orders(*((i, "a", 2 * i, -float(i)) for i in range(70)))
    workspace.ingest()
    assert not stored_rows(context_of(workspace), "daily").equals(then)
    assert stored_rows(context_of(workspace), "daily", as_of=data.sequence).equals(then)
    built = next(report.sequence for report in reports if report.source == "daily")
    assert stored_rows(context_of(workspace), "daily", as_of=built - 1).height == 0
    assert workspace.verify(data.build_id).same


def test_rebuilds_without_rows_stand_one_after_the_other(workspace):
    frames = {"orders": orders((1, "a", 1, 1.0)), "visits": visits((1, "a", 30))}
    project = derived(frames)
    workspace.apply(project)
    workspace.ingest()
    q = database_of(workspace).sequence()
    frames["orders"] = orders()
    workspace.ingest("orders", full=True)
    gone = database_of(workspace).sequence()
    assert stored_rows(context_of(workspace), "daily").height == 0
    assert stored_rows(context_of(workspace), "daily", as_of=gone).height == 0
    assert stored_rows(context_of(workspace), "daily", as_of=q).height == 1
    assert stored_rows(context_of(workspace), "daily", as_of=gone - 1).height == 1


def test_a_transformation_whose_definition_changed_is_rebuilt(workspace):
    frames = {"orders": orders((1, "a", 1, 1.0)), "visits": visits((1, "a", 30))}
    workspace.apply(derived(frames))
    workspace.ingest()
    q = database_of(workspace).sequence()
    workspace.apply(derived(frames, amount="max(amount) + 1"))
    workspace.ingest()
    assert stored_rows(context_of(workspace), "daily")["amount"].to_list() == [2.0]
    assert stored_rows(context_of(workspace), "daily", as_of=q)["amount"].to_list() == [1.0]


def test_a_build_is_named_by_its_id_or_its_beginning_and_an_unknown_build_gets_its_near_match(workspace):
    with pytest.raises(NotFoundError, match="no build of a training set 'visits'"):
        workspace.verify("visits")
    project = shop(orders((1, "a", 1, 5.0), (2, "a", 60, 1.0)), visits((0, "a", 0)))
    workspace.apply(project)
    workspace.ingest()
    data = workspace.get_training_data("visits_to_orders")
    assert reproducing.find_build(context_of(workspace), data.build_id[:8]).id == data.build_id
    with pytest.raises(NotFoundError, match="did you mean 'visits_to_orders'"):
        workspace.verify("visits_to_order")


@pytest.mark.parametrize("hours", [0, -1])
def test_the_newest_build_was_built_last_where_the_clock_stands_still_or_was_set_back(workspace, hours):
    workspace.apply(shop(orders((1, "a", 1, 5.0), (2, "a", 60, 1.0)), visits((0, "a", 0))))
    workspace.ingest()
    for number in range(9):
        set_clock(workspace, tm.ReplayClock(at(100 + number * hours)))
        built = workspace.get_training_data("visits_to_orders")
        assert reproducing.find_build(context_of(workspace), "visits_to_orders").id == built.build_id


def test_other_engine_versions_are_told(workspace, monkeypatch):
    project = shop(orders((1, "a", 1, 5.0), (2, "a", 60, 1.0)), visits((0, "a", 0)))
    workspace.apply(project)
    workspace.ingest()
    data = workspace.get_training_data("visits_to_orders")
    now = training_sets.engine_versions()
    monkeypatch.setattr(reproducing, "engine_versions", lambda: {**now, "polars": "99.0"})
    verified = workspace.verify(data.build_id)
    assert verified.engines == {"polars": (now["polars"], "99.0")}
    assert "polars" in repr(verified)
