"""Checks on transformations and feature views, over HTTP, in SQL, drawn, inferred, and typed at the command line."""

import json
import re
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from command_line import ask, run
from conftest import at
from litestar.testing import TestClient
from test_data_checks import POSITIVE, amounts, orders_of, pushed_shop, rows, shop

import tinymlops as tm


def transformed(*rules, action, row_wise=False):
    """Orders, doubled: by a transformation that is rebuilt, or row by row."""
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")
    project.frames = {"orders": orders_of(1.0, -2.0, 3.0)}

    @project.source(timestamp="at", id="order")
    def orders() -> pl.DataFrame:
        return project.frames["orders"]

    if row_wise:

        @project.transformation(row_wise=True)
        def doubled(orders: tm.Rows) -> str:
            return "select *, amount * 2 as twice from orders"
    else:

        @project.transformation(timestamp="at", id="order")
        def doubled(orders: tm.Rows) -> str:
            return "select *, amount * 2 as twice from orders"

    @project.feature_view(entity=customer)
    def spending(doubled: tm.Rows) -> tm.Features:
        return {"spent": doubled["twice"].sum(window="30d")}

    project.check(doubled, *rules, action=action)
    return project


TWICE = tm.between("twice", 0)


def twice(ws):
    return ws.sql("select twice from doubled order by twice")["twice"].to_list()


def test_rows_of_a_rebuilt_transformation_wait_through_every_rebuild_until_released(workspace):
    project = transformed(TWICE, action="quarantine")
    workspace.apply(project)
    with pytest.warns(match="1 of 3"):
        workspace.ingest()
    assert twice(workspace) == [2.0, 6.0]
    project.frames["orders"] = orders_of(1.0, -2.0, 3.0, 4.0)
    workspace.ingest()
    assert twice(workspace) == [2.0, 6.0, 8.0]
    (kept,) = workspace.checks.quarantined()
    workspace.checks.release(kept.id)
    assert twice(workspace) == [-4.0, 2.0, 6.0, 8.0]
    project.frames["orders"] = orders_of(1.0, -2.0, 3.0, 4.0, 5.0)
    workspace.ingest()
    assert twice(workspace) == [-4.0, 2.0, 6.0, 8.0, 10.0]
    assert workspace.checks.quarantined() == []


def test_a_rebuilt_transformation_that_fails_keeps_what_it_held(workspace):
    project = transformed(tm.volume(max_rows=3), action="fail")
    workspace.apply(project)
    workspace.ingest()
    project.frames["orders"] = orders_of(1.0, -2.0, 3.0, 4.0)
    with pytest.raises(tm.DataError, match="transformation 'doubled': the batch of 4 rows does not pass"):
        workspace.ingest()
    assert twice(workspace) == [-4.0, 2.0, 6.0]
    with pytest.raises(tm.DataError, match=r"volume\(max_rows=3\)"):
        workspace.materialize()


def test_a_row_wise_transformation_keeps_the_rows_that_it_was_made_of(workspace):
    workspace.apply(transformed(TWICE, action="quarantine", row_wise=True))
    with pytest.warns(match="1 of 3"):
        workspace.ingest()
    assert amounts(workspace) == [1.0, 3.0]
    assert workspace.checks.rows(1)["amount"].to_list() == [-2.0]
    workspace.checks.release(1)
    assert twice(workspace) == [-4.0, 2.0, 6.0]


def viewed(*rules, action):
    project = shop(orders=orders_of(1.0, -2.0))
    project.check(project.definitions["spending"], *rules, action=action)
    return project


def test_a_view_that_fails_is_not_materialized(workspace):
    project = viewed(tm.between("n", high=2), tm.not_null("spent"), action="fail")
    workspace.apply(project)
    workspace.ingest()
    project.frames["orders"] = orders_of(*[1.0] * 3, customer="b", start=10)
    start = datetime.now().astimezone()
    project.frames["orders"] = project.frames["orders"].with_columns(at=pl.lit(start).dt.convert_time_zone("UTC"))
    workspace.ingest()
    with pytest.raises(
        tm.DataError, match=r"feature view 'spending': 1 of 2 rows do not pass between\(\"n\", high=2\)"
    ):
        workspace.materialize()
    assert workspace.checks.results("spending")[0].moment == "materialize"


def test_a_view_is_compared_with_what_it_was(tmp_path):
    clock = tm.ReplayClock(at(100))
    with tm.connect(tmp_path / "shop.tm", create=True, clock=clock) as ws:
        project = viewed(tm.same_distribution("spent", as_of="1h"), tm.volume(1), tm.unique("customer"), action="warn")
        ws.apply(project)
        ws.ingest()
        ws.materialize()
        said = {one.rule: one.passed for one in ws.checks.results("spending")}
        assert said == {'same_distribution("spent", as_of="1h")': None, "volume(1)": True, 'unique("customer")': True}


def test_a_refused_push_over_http_is_422_and_says_the_same(workspace):
    workspace.apply(pushed_shop(POSITIVE, action="fail"))
    client = TestClient(tm.create_app(workspace, allowed_hosts=["testserver.local"]))
    body = {"rows": [{**row, "at": row["at"].isoformat()} for row in rows(1.0, -2.0)]}
    answer = client.post("/v1/sources/orders/push", json=body)
    assert answer.status_code == 422, answer.text
    assert '1 of 2 rows do not pass between("amount", 0): row 1 (order=1, amount=-2.0)' in answer.json()["error"]
    assert "quarantine" in answer.json()["hint"]
    assert amounts(workspace) == []


def test_results_are_in_sql_and_drawn(workspace):
    workspace.apply(shop(POSITIVE, tm.not_null("customer"), tm.fresh("1h"), orders=orders_of(1.0, -2.0)))
    assert "no results of checks yet" in repr(workspace.checks)
    with pytest.warns(match="do not pass|does not pass"):
        workspace.ingest()
    found = workspace.sql("select rule, failed, passed from check_results order by rule")
    assert found.rows() == [
        ('between("amount", 0)', 1, False),
        ('fresh("1h")', 2, False),
        ('not_null("customer")', 0, True),
    ]
    assert workspace.sql("select count(*) as n from quarantines")["n"].item() == 0
    shown = repr(workspace.checks)
    assert "3 results, 2 not passed" in shown
    assert "█" * 10 + "░" * 10 in shown
    assert "<svg" in workspace.checks._repr_html_()
    assert len(workspace.checks.results(limit=1)) == 1
    assert len(workspace.checks.results()[:2]) == 2
    with pytest.raises(tm.NotFoundError, match="there is no source"):
        workspace.checks.results("ordrs")


def test_stored_rows_are_asked_again(workspace):
    project = shop(orders=orders_of(1.0, -2.0))
    workspace.apply(project)
    workspace.ingest()
    workspace.apply(shop(POSITIVE, tm.volume(5), action="fail", orders=orders_of()))
    found = {one.rule: one for one in workspace.checks.run()}
    assert (found['between("amount", 0)'].failed, found["volume(5)"].passed) == (1, None)
    assert found['between("amount", 0)'].moment == "run"
    with pytest.raises(tm.NotFoundError, match="no checks on 'spending'"):
        workspace.checks.run("spending")


def test_a_proposed_suite_passes_on_the_rows_it_was_learnt_from(workspace):
    frame = orders_of(*map(float, range(60))).with_columns(
        status=pl.Series(["open", "paid", None] * 20),
        note=pl.Series([f"n{i}" for i in range(60)]),
        empty=pl.Series([None] * 60, dtype=pl.String),
        tags=pl.Series([[1]] * 60),
    )
    workspace.apply(shop(orders=frame))
    workspace.ingest()
    proposal = workspace.checks.infer("orders")
    assert proposal.rules == [
        'not_null("order")',
        'unique("order")',
        'not_null("customer")',
        'one_of("customer", ["a"])',
        'not_null("amount")',
        'between("amount", 0.0, 59.0)',
        'one_of("status", ["open", "paid"])',
        'not_null("note")',
        'unique("note")',
        'not_null("tags")',
    ]
    project = shop(orders=frame)
    exec(str(proposal), {"tm": tm, "project": project, "orders": project.definitions["orders"]})
    workspace.apply(project)
    assert all(one.passed for one in workspace.checks.run())


FEATURES = """
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
import tinymlops as tm

project = tm.Project("shop")

@project.source(timestamp="at", id="order")
def orders() -> tm.Schema:
    return {"order": int, "customer": str, "at": datetime, "amount": float}

project.check(orders, tm.between("amount", 0), action="quarantine")
"""


def test_checks_at_the_command_line(tmp_path, monkeypatch):
    (tmp_path / "checked_features.py").write_text(FEATURES)
    (tmp_path / "tinymlops.toml").write_text('modules = ["checked_features"]\nworkspace = "shop.tm"\n')
    monkeypatch.chdir(tmp_path)
    tm.connect(tmp_path / "shop.tm", create=True).close()
    ask("apply")
    assert ask("checks", "list") == [
        {"name": "orders_quarantine_checks", "target": "orders", "action": "quarantine", "rule": 'between("amount", 0)'}
    ]
    for order, amount in enumerate([1.0, -2.0, -3.0]):
        row = {"order": order, "customer": "a", "at": "2024-01-01T00:00:00Z", "amount": amount}
        run("push", "orders", json.dumps(row))
    assert [one["failed"] for one in ask("checks", "results")] == [1, 1]
    first, second = ask("checks", "quarantined")
    assert ask("checks", "quarantined", str(first["id"]))["rows"][0]["amount"] == -2.0
    assert ask("checks", "release", str(first["id"]))["rows_new"] == 1
    assert ask("checks", "drop", str(second["id"]))["status"] == "dropped"
    assert [one["status"] for one in ask("checks", "quarantined", "--all")] == ["released", "dropped"]
    assert "was dropped" in run("checks", "release", second["id"]).stderr
    assert "project.check(" in ask("checks", "infer", "orders")["code"]
    failed = run("checks", "run", "orders")
    assert failed.exit_code == 1
    assert "1 of 2 rows" in failed.stdout


def test_the_suite_of_the_guide_can_be_applied_and_asked(workspace):
    guide = (Path(__file__).parent.parent / "docs" / "guide" / "checks.md").read_text()
    (suite,) = re.findall(r"```python\n(project\.check.*?)```", guide, re.DOTALL)
    project = tm.Project("shop")

    @project.source(timestamp="at", id="order_id")
    def orders() -> tm.Schema:
        words = dict.fromkeys(["customer_id", "status", "email", "note"], str)
        return {"order_id": int, "at": datetime, "amount": float, "paid_amount": float, **words}

    exec(suite, {"tm": tm, "pl": pl, "project": project, "orders": orders})
    workspace.apply(project)
    row = {"order_id": 1, "at": datetime.now().astimezone(), "amount": 1.0, "paid_amount": 1.0, "customer_id": "a"}
    row |= {"status": "open", "email": "a@b", "note": None}
    with pytest.raises(tm.DataError, match=r"volume\(1000, 100000\)"):
        workspace.push("orders", [row])
    assert [one.rule for one in workspace.checks.results()] == ["volume(1000, 100000)"]


def test_what_is_proposed_for_dates_and_decimals_can_be_pasted(workspace):
    frame = orders_of(1.0, 2.0).with_columns(
        day=pl.Series([date(2024, 1, 1), date(2024, 2, 1)]), price=pl.Series([Decimal("1.50"), Decimal("2.00")])
    )
    workspace.apply(shop(orders=frame))
    workspace.ingest()
    code = str(workspace.checks.infer("orders"))
    assert 'between("day", datetime.date(2024, 1, 1), datetime.date(2024, 2, 1))' in code
    project = shop(orders=frame)
    exec(code, {"tm": tm, "project": project, "orders": project.definitions["orders"]})
    workspace.apply(project)
    assert all(one.passed for one in workspace.checks.run())


def test_a_view_that_fails_keeps_no_other_from_being_materialized(workspace):
    project = shop(orders=orders_of(1.0))

    @project.feature_view(entity=project.definitions["customer"])
    def other(orders: tm.Rows) -> tm.Features:
        return {"last": orders["amount"].last()}

    project.check(project.definitions["spending"], tm.volume(2), action="fail")
    workspace.apply(project)
    workspace.ingest()
    with pytest.raises(tm.DataError, match="feature view 'spending'"):
        workspace.materialize("spending", "other")
    assert workspace.checks.results("spending")[0].detail == "it has 1 key"
    assert workspace.materialize("other")[0].keys == 1


def test_a_view_of_another_project_with_the_name_of_a_source_has_checks_of_its_own(workspace):
    workspace.apply(shop(POSITIVE, orders=orders_of(1.0)))
    workspace.ingest()
    project = tm.Project("other")
    customer = project.entity("buyer", key="customer")

    @project.source(timestamp="at")
    def sales() -> pl.DataFrame:
        return orders_of(1.0)

    @project.feature_view(entity=customer)
    def orders(sales: tm.Rows) -> tm.Features:
        return {"spent": sales["amount"].last()}

    project.check(orders, tm.not_null("spent"), name="of_the_view")
    workspace.apply(project)
    workspace.ingest("sales")
    assert [one.rule for one in workspace.checks.results()] == ['between("amount", 0)']
    assert {one.rule for one in workspace.checks.run()} == {'between("amount", 0)', 'not_null("spent")'}
