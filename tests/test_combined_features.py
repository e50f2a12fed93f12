"""Expressions over aggregates, in views and labels: one value by one evaluator, offline and online."""

import json
from datetime import datetime, timedelta

import msgspec
import polars as pl
import pytest
from conftest import START, at, shop
from hypothesis import given, settings
from hypothesis import strategies as st
from litestar.testing import TestClient
from oracle import Row, oracle_expression, oracle_latest, oracle_window

import tinymlops as tm
from tinymlops.errors import DataError, DefinitionError
from tinymlops.features.definitions import specs
from tinymlops.features.definitions.expressions import Aggregate, aggregates_of, columns_of
from tinymlops.features.intake import taking_in

HOUR = 3_600_000_000
rows = tm.Rows()

BEFORE = {
    "0b542078a8d1aad553a61dc4ab735ee9ad90eeed91d9bb63e09ae8b48c6253b2": (
        '{"kind":"feature_view","name":"spending","entity":"customer","source":"orders","ttl":2592000000000,"features":'
        '{"last":{"function":"last","operand":{"op":"column","name":"amount"},"window":null,"where":{"op":"column","name":'
        '"paid"},"skip_nulls":true},"n":{"function":"count","operand":null,"window":604800000000,"where":null,"skip_nulls"'
        ':false},"big":{"function":"mean","operand":{"op":"binary","operator":"<","left":{"op":"unary","operator":"neg",'
        '"operand":{"op":"binary","operator":"fill_null","left":{"op":"column","name":"amount"},"right":{"op":"constant",'
        '"value":0}}},"right":{"op":"constant","value":-15}},"window":604800000000,"where":null,"skip_nulls":false},"p90":'
        '{"function":"quantile","operand":{"op":"column","name":"amount"},"window":86400000000,"where":null,"skip_nulls":'
        'false,"q":0.9}},"description":""}'
    ),
    "249b646a14c3697ed02611516e9460f826284ad1e80263daaf4ce1baab021499": (
        '{"kind":"label","name":"buys","entity":"customer","source":"orders","horizon":604800000000,"gap":3600000000,'
        '"expression":{"function":"any","operand":{"op":"binary","operator":">","left":{"op":"column","name":"amount"},'
        '"right":{"op":"constant","value":0}},"window":null,"where":null,"skip_nulls":false},"description":""}'
    ),
}


@pytest.mark.parametrize("fingerprint", BEFORE)
def test_a_definition_stored_before_is_read_and_written_as_it_was(fingerprint):
    spec = specs.decode(BEFORE[fingerprint].encode())
    assert specs.encode(spec).decode() == BEFORE[fingerprint]
    assert specs.fingerprint(spec) == fingerprint


def test_a_combined_feature_is_stored_with_its_parts_each_once():
    total = rows["amount"].sum(window="30d")
    feature = (total / rows.count(window="30d") > total.log()) & ~(rows["amount"] > 3).any(window="1d")
    again = msgspec.json.decode(msgspec.json.encode(feature), type=Aggregate)
    assert msgspec.json.encode(again) == msgspec.json.encode(feature)
    assert [part.function for part in aggregates_of(again)] == ["sum", "count", "any"]
    assert columns_of(again) == {"amount"}
    assert repr(again) == (
        "<((sum of amount over 30d / count of rows over 30d) > sum of amount over 30d.log()) & ~any of "
        "amount > 3 over 1d>"
    )


@pytest.mark.parametrize(
    ("write", "message", "hint"),
    [
        (lambda: rows["a"].last() > rows["b"], "<rows['b']> is a value of each row", ".last(), .mean"),
        (lambda: rows["a"] > rows["b"].last(), "<last of b> is an aggregate", "aggregate both sides"),
        (lambda: rows["a"].sum(where=rows["b"].last()), "<last of b> is an aggregate", "aggregate both sides"),
        (lambda: rows["a"].last() and rows["b"].last(), "has no truth value", "write & for and"),
        (lambda: rows["a"].last() > float("nan"), "nan cannot be a constant", ".is_null()"),
        (lambda: rows["a"].last().sum(window="1d"), "expressions have no 'sum'", "transformation"),
    ],
)
def test_what_cannot_be_combined_is_refused_while_it_is_defined(write, message, hint):
    with pytest.raises(DefinitionError) as info:
        write()
    assert message in info.value.message
    assert hint in info.value.hint


# Labels


def outcomes(ws, expression, orders, visits, **options):
    """Build a training set whose label is an expression over orders of (hour, amount) in the two hours after a visit."""
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")
    table = pl.DataFrame(
        {"customer": "a", "at": [at(o[0]) for o in orders], "amount": [o[1] for o in orders]},
        schema_overrides={"amount": pl.Float64},
    )

    @project.source(timestamp="at")
    def orders() -> pl.DataFrame:
        return table

    @project.source(timestamp="at", id="visit")
    def calls() -> pl.DataFrame:
        return pl.DataFrame({"visit": range(len(visits)), "customer": "a", "at": [at(hour) for hour in visits]})

    @project.feature_view(entity=customer)
    def spending(orders: tm.Rows) -> tm.Features:
        return {"newest": orders["amount"].last()}

    @project.label(entity=customer, horizon="2h")
    def outcome(orders: tm.Rows) -> tm.Label:
        return expression(orders)

    project.training_set("ts", spine=calls, label=outcome, features=[spending])
    ws.apply(project)
    ws.ingest()
    return ws.get_training_data("ts", **options)


@pytest.mark.parametrize(
    ("expression", "values"),
    [
        (lambda orders: orders.count() == 0, [False, True, False]),
        (lambda orders: orders["amount"].sum() > 50, [True, False, False]),
        (lambda orders: ~(orders["amount"] > 50).any(), [False, True, True]),
        (lambda orders: (orders.count() > 0) & (orders["amount"].sum() < 50), [False, False, True]),
        (lambda orders: orders["amount"].sum().is_in([60.0, 7.0]), [True, False, True]),
        (lambda orders: orders["amount"].max().is_null(), [False, True, False]),
        (lambda orders: orders["amount"].max().fill_null(0.0) * 2, [118.0, 0.0, 14.0]),
        (lambda orders: (orders["amount"].max() > 9) | (orders.count() == 0), [True, True, False]),
    ],
)
def test_an_outcome_may_be_an_expression_over_aggregates(workspace, expression, values):
    data = outcomes(workspace, expression, [(1, 59.0), (2, 1.0), (21, 7.0), (99, 1.0)], [0, 10, 20, 98])
    assert data.train.y.to_list() == values
    assert (data.report.immature, data.report.no_outcome) == (1, 0)
    assert data.signature.task == ("regression" if isinstance(values[0], float) else "binary")
    assert workspace.verify(data.build_id).same


def test_an_outcome_divided_by_zero_or_by_nothing_is_no_outcome(workspace):
    data = outcomes(
        workspace,
        lambda orders: orders["amount"].sum() / orders.count(where=orders["amount"] > 5),
        [(1, 6.0), (11, 1.0), (21, 8.0), (22, 10.0), (99, 1.0)],
        [0, 10, 20, 50],
    )
    assert data.train.y.to_list() == [6.0, 9.0]
    assert (data.report.immature, data.report.no_outcome) == (0, 2)


def test_a_label_whose_parts_have_windows_is_refused():
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")
    with pytest.raises(DefinitionError, match="label 'lost' has a window in its expression"):

        @project.label(entity=customer, horizon="7d")
        def lost(orders: tm.Rows) -> tm.Label:
            return orders.count(window="7d") == 0


# Views, offline and online, against an oracle


def every(rows):
    last, total = rows["amount"].last(), rows["amount"].sum(window="3h")
    n, any_big = rows.count(window="3h"), (rows["amount"] > 2).any(window="3h")
    return {
        "last": last,
        "none": n == 0,
        "mean": total / n,
        "share": last / total,
        "trend": last - rows["amount"].last(where=rows["amount"] > 0),
        "quiet": ~any_big,
        "odd": (n % 2 == 1) & (last > 0),
        "either": (n // 2 > 0) | (last < 0),
        "filled": abs(last.fill_null(-7) * n),
        "missing": last.is_null() & (total == 0),
        "n": n,
    }


def project_of(make, *, ttl=None, dtype=int):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at", id="order")
    def orders() -> tm.Schema:
        return {"order": int, "customer": str, "at": datetime, "amount": dtype}

    @project.feature_view(entity=customer, ttl=ttl)
    def spending(orders: tm.Rows) -> tm.Features:
        return make(orders)

    return project


def expected(name, versions, customer, time):
    """Compute a feature by the rule: each part by the oracle of its kind, and the expression over them row by row."""
    feature, values = every(rows)[name], {}
    for place, part in enumerate(aggregates_of(feature)):
        node = None if part.operand is None else json.loads(msgspec.json.encode(part.operand))
        where = None if part.where is None else json.loads(msgspec.json.encode(part.where))
        seen = [
            Row(who, order, e, max(e, c), c, n, deleted,
                1 if node is None else oracle_expression(node, {"amount": amount}),
                where is None or oracle_expression(where, {"amount": amount}) is True)
            for n, (order, who, e, c, amount, deleted) in enumerate(versions)
        ]  # fmt: skip
        if part.window is None:
            winner = oracle_latest(seen, customer, time, strict=False)
            values[str(place)] = None if winner is None else winner.value
        else:
            values[str(place)] = oracle_window(part.function, seen, customer, time, part.window)
    if feature.parts is msgspec.UNSET:
        return values["0"]
    return oracle_expression(json.loads(msgspec.json.encode(feature.operand)), values)


pushes = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from("ab"), st.integers(-5, 2), st.none() | st.integers(-3, 4)),
    min_size=1,
    max_size=4,
)


@settings(max_examples=10, deadline=None)
@given(st.lists(pushes, min_size=1, max_size=3), st.booleans())
def test_offline_and_online_are_what_the_rule_says(tmp_path_factory, batches, materialized):
    clock, versions = tm.ReplayClock(at(0)), []
    with tm.connect(tmp_path_factory.mktemp("combined") / "shop.tm", create=True, clock=clock) as ws:
        ws.apply(project_of(every))
        if materialized:
            ws.materialize()
        for hours, batch in enumerate(batches):
            ones = {order: (order, who, at(hours + e), amount) for order, who, e, amount in batch}
            names = ("order", "customer", "at", "amount")
            ws.push("orders", [dict(zip(names, one, strict=True)) for one in ones.values()])
            known = {order: (who, e, amount) for order, who, e, _, amount, _ in versions}
            for order, who, moment, amount in ones.values():
                event, before = micros(moment), known.get(order)
                if before is not None and before[0] != who:  # taken back under the key that it had
                    versions.append((order, before[0], event, hours * HOUR, before[2], True))
                if before != (who, event, amount):
                    versions.append((order, who, event, hours * HOUR, amount, False))
            clock.advance("1h")
            keys = {"customer": ["a", "b", "nobody", None]}
            wanted = [
                tuple(expected(name, versions, customer, micros(clock())) for name in every(rows))
                for customer in keys["customer"]
            ]
            online = ws.get_online_features(["spending"], keys)
            assert online.to_polars().drop("customer").rows() == wanted
            assert list(zip(*list(online.to_dict().values())[1:], strict=True)) == wanted
            spine = pl.DataFrame({**keys, "timestamp": [clock()] * 4})
            assert ws.get_historical_features(spine, ["spending"]).select(list(every(rows))).rows() == wanted
            picked = ws.get_online_features(["spending:share", "spending:none"], keys).to_polars()
            assert picked.drop("customer").rows() == [(row[3], row[1]) for row in wanted]


def micros(moment):
    return (moment - START) // timedelta(microseconds=1)


@pytest.fixture
def kept(tmp_path):
    """A workspace of three orders of one customer, materialized, an hour after the last."""
    clock = tm.ReplayClock(at(0))
    with tm.connect(tmp_path / "shop.tm", create=True, clock=clock) as ws:
        ws.apply(project_of(every))
        ws.materialize()
        ws.push("orders", [{"order": i, "customer": "a", "at": at(-i), "amount": i + 1} for i in range(3)])
        clock.advance("30m")
        yield ws


def test_an_answer_is_the_same_in_every_form(kept):
    online = kept.get_online_features(["spending"], {"customer": ["a", "b"]})
    lists = online.to_dict()
    assert online.to_polars().to_dict(as_series=False) == lists
    assert online.to_arrow().to_pydict() == lists
    numbers = online.to_numpy()
    for place, name in enumerate(online.features):
        asked = [None if value != value else value for value in numbers[:, place].tolist()]
        assert asked == lists[name], name
    with TestClient(tm.create_app(kept), base_url="http://127.0.0.1:8000") as client:
        body = {"features": ["spending"], "keys": [{"customer": "a"}, {"customer": "b"}]}
        answer = client.post("/v1/features/online", json=body).json()
    assert {name: [row[name] for row in answer["rows"]] for name in lists} == lists
    assert lists["share"] == [1 / 6, None]


def test_a_combined_feature_has_the_status_of_a_window_offline_and_online(kept):
    keys = {"customer": ["a", "b", None]}
    online = kept.get_online_features(["spending"], keys, details=True).to_polars()
    spine = pl.DataFrame({**keys, "timestamp": [at(0.5)] * 3})
    offline = kept.get_historical_features(spine, ["spending"], details=True).drop("timestamp")
    assert online.select(offline.columns).equals(offline, null_equal=True)
    for name in ("share", "none", "mean"):
        assert online[f"{name}_status"].to_list() == ["PRESENT", "PRESENT", "NULL_KEY"]
        assert online[f"{name}_event_time"].to_list() == [None] * 3
    assert online["last_status"].to_list() == ["PRESENT", "NOT_FOUND", "NULL_KEY"]


def test_a_view_with_a_prefix_names_its_combined_features_so(kept):
    role = kept.get_online_features(["spending"], {"customer": ["a"]})
    assert role.features == tuple(every(rows))


@pytest.mark.parametrize("materialized", [False, True])
def test_what_does_not_fit_between_aggregates_names_feature_row_and_time(tmp_path, materialized):
    clock = tm.ReplayClock(at(0))
    with tm.connect(tmp_path / "shop.tm", create=True, clock=clock) as ws:
        ws.apply(
            project_of(
                lambda rows: {
                    "x": rows["amount"].last() * rows["amount"].max(window="1d"),
                    "n": rows.count(window="1d"),
                }
            )
        )
        if materialized:
            ws.materialize()
        ws.push("orders", [{"order": 1, "customer": "a", "at": at(0), "amount": 2**40}])
        clock.advance("1h")
        message = (
            "feature 'x', <last of amount * max of amount over 1d>, does not fit 64 bits at row 1, time "
            "2024-01-01T01:00:00+00:00"
        )
        with pytest.raises(DataError) as info:
            ws.get_online_features(["spending"], {"customer": ["b", "a"]})
        assert info.value.message == message
        spine = pl.DataFrame({"customer": ["b", "a"], "timestamp": [at(1)] * 2})
        with pytest.raises(DataError) as info:
            ws.get_historical_features(spine, ["spending"])
        assert info.value.message == message
        assert ws.get_online_features(["spending"], {"customer": ["b"]}).to_dict()["x"] == [None]


def test_apply_checks_the_types_of_what_is_combined(workspace):
    project = project_of(lambda rows: {"x": rows["amount"].last() - rows.count(window="1d")}, dtype=str)
    with pytest.raises(DefinitionError, match=r"'x' of feature view 'spending'.*cannot be computed"):
        workspace.apply(project)
    with pytest.raises(DefinitionError, match=r"'x' of feature view 'spending'.*needs numbers and got String"):
        workspace.apply(project_of(lambda rows: {"x": rows["amount"].sum(window="1d") > 1}, dtype=str))


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (
            lambda rows: {"x": rows["amount"].last() / rows["amount"].sum()},
            {},
            "feature 'x' of 'spending': sum needs a window",
        ),
        (
            lambda rows: {"x": rows.count(window="1d") == 0},
            {"ttl": "1d"},
            "has a ttl, but all its features have windows",
        ),
    ],
)
def test_the_rules_of_windows_hold_for_each_part(make, options, message):
    with pytest.raises(DefinitionError, match=message):
        project_of(make, **options)


def test_a_static_source_takes_combined_features_of_its_newest_rows_alone(workspace):
    orders = pl.DataFrame({"customer": ["a"], "price": [6.0], "size": [0.5], "amount": [1.0], "at": [at(0)]})
    project = shop(
        orders,
        order_options={"timestamp": None, "static": True},
        features=lambda rows: {"x": rows["price"].last() / rows["size"].last()},
    )
    for name in ("visits_to_orders", "buys"):
        del project.definitions[name]
    workspace.apply(project)
    workspace.ingest("orders")
    spine = pl.DataFrame({"customer": ["a", "b"], "timestamp": [at(0)] * 2})
    assert workspace.get_historical_features(spine, ["spending"])["x"].to_list() == [12.0, None]


def test_a_view_that_cannot_follow_says_so_where_it_is_materialized_and_stays_as_it_was(workspace, monkeypatch):
    orders = pl.DataFrame({"customer": ["a", "a"], "at": [at(1), at(2)], "amount": [1, 3]})
    project = shop(orders[:1], features=lambda rows: {"x": (rows["amount"] * 2**62).last()})
    workspace.apply(project)
    workspace.ingest("orders")
    workspace.materialize()
    project.frames["orders"] = orders
    monkeypatch.setattr(taking_in, "require_computable", lambda *_: None)  # rows from before this was checked
    with pytest.warns(UserWarning, match="store could not follow.*does not fit"):
        workspace.ingest("orders")
    with pytest.raises(DataError, match=r"in feature 'x' does not fit 64 bits in the row of 2024-01-01T02:00"):
        workspace.materialize()
    online = workspace.get_online_features(["spending"], {"customer": ["a"]})
    assert (online.to_dict()["x"], online.sequence) == ([2**62], 1)
