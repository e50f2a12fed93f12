"""A check on a view that is online: where it does not pass, the view stays as it was, and says why."""

from datetime import datetime

import pytest
from conftest import at
from inside import environment_of

import tinymlops as tm
from tinymlops.stores.doctor import check as doctor


def shop(*rules, action="fail"):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at", id="order")
    def orders() -> tm.Schema:
        return {"order": int, "customer": str, "at": datetime, "amount": float}

    @project.feature_view(entity=customer)
    def spending(orders: tm.Rows) -> tm.Features:
        return {"last": orders["amount"].last(), "spent": orders["amount"].sum(window="36500d")}

    @project.feature_view(entity=customer)
    def counts(orders: tm.Rows) -> tm.Features:
        return {"n": orders.count(window="36500d")}

    if rules:
        project.check(spending, *rules, action=action)
    return project


def push(ws, order, amount, customer="a"):
    return ws.push("orders", [{"order": order, "customer": customer, "at": at(order), "amount": amount}])


def read(ws, *views):
    answer = ws.get_online_features(list(views), {"customer": ["a", "b"]})
    return answer.sequence, answer.to_dict()


@pytest.fixture
def online(workspace):
    workspace.apply(shop(tm.between("spent", 0, 100)))
    push(workspace, 1, 10.0)
    push(workspace, 2, 5.0, customer="b")
    workspace.materialize()
    return workspace


def test_a_view_that_does_not_pass_stays_and_says_why(online):
    good = read(online, "spending")
    assert good[1]["spent"] == [10.0, 5.0]
    assert push(online, 3, 500.0).online == "behind"
    assert push(online, 4, 1.0, customer="b").online == "behind"
    assert read(online, "spending") == good
    assert read(online, "counts")[1]["n"] == [2, 2]
    status = {one.view: one for one in online.status().views}
    assert status["spending"].sequence == good[0]
    assert status["spending"].behind == 'it does not pass between("spent", 0, 100) (1 of 1 keys)'
    assert status["counts"].behind == ""
    assert "behind: it does not pass" in str(online.status())
    (warned,) = (one for one in doctor(environment_of(online), lambda _: None) if one.check == "online views")
    assert (warned.level, "tinymlops status" in warned.detail) == ("warning", True)
    with pytest.raises(tm.DataError, match=r"feature view 'spending': 1 of 2 rows do not pass"):
        online.materialize("spending")
    assert read(online, "spending") == good


def test_a_view_that_passes_again_goes_on(online):
    push(online, 3, 500.0)
    push(online, 4, 1.0, customer="b")
    assert push(online, 3, 20.0).online == "current"  # the order is corrected
    assert read(online, "spending")[1]["spent"] == [30.0, 6.0]
    assert [one.behind for one in online.status().views] == ["", ""]
    said = [(one.moment, one.passed, one.failed) for one in online.checks.results("spending")]
    assert said == [("follow", True, 0), ("follow", False, 1), ("materialize", True, 0)]
    (fine,) = (one for one in doctor(environment_of(online), lambda _: None) if one.check == "online views")
    assert fine.level == "ok"


def test_two_views_of_one_read_are_of_one_moment_while_one_is_behind(online):
    push(online, 3, 500.0)
    sequence, found = read(online, "spending", "counts")
    alone = [
        online.get_historical_features(
            [{"customer": key, "timestamp": datetime.fromisoformat("2030-01-01T00:00:00+00:00")} for key in ("a", "b")],
            ["spending", "counts"],
            as_of=sequence,
        ).to_dict(as_series=False)
    ]
    assert {name: found[name] for name in ("last", "spent", "n")} == {
        name: alone[0][name] for name in ("last", "spent", "n")
    }


def test_a_rule_about_all_keys_is_asked_of_all(workspace):
    workspace.apply(shop(tm.volume(1, 2)))
    push(workspace, 1, 1.0, customer="a")
    workspace.materialize()
    assert push(workspace, 2, 1.0, customer="b").online == "current"
    assert push(workspace, 3, 1.0, customer="c").online == "behind"
    assert push(workspace, 4, 1.0, customer="a").online == "behind"


def test_a_check_that_only_warns_keeps_no_view(workspace):
    workspace.apply(shop(tm.between("spent", 0, 100), action="warn"))
    push(workspace, 1, 1.0)
    workspace.materialize()
    assert push(workspace, 2, 500.0).online == "current"


def test_a_check_that_is_removed_lets_the_view_go_on(online):
    push(online, 3, 500.0)
    online.apply(shop())
    assert push(online, 4, 1.0).online == "current"
    assert read(online, "spending")[1]["spent"] == [511.0, 5.0]
    assert [one.behind for one in online.status().views] == ["", ""]
