"""Feature views written as a class: the same as the function that says the same."""

import polars as pl
import pytest
from conftest import at

import tinymlops as tm
from tinymlops.errors import DefinitionError
from tinymlops.features.definitions import specs

ORDERS = pl.DataFrame({"customer": ["a", "a"], "at": [at(1), at(2)], "amount": [1.0, 3.0]})


def project_of(*, as_class):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at")
    def orders() -> pl.DataFrame:
        return ORDERS

    if as_class:

        @project.feature_view(entity=customer, ttl="9d")
        class CustomerSpending2D:
            """What a customer spends."""

            orders = tm.Rows()
            _large = orders["amount"] > 2

            last_amount = orders["amount"].last()
            large = _large.sum(window="1d")
            share = orders["amount"].last() / orders["amount"].first()

    else:

        @project.feature_view(entity=customer, ttl="9d")
        def customer_spending2_d(orders: tm.Rows) -> tm.Features:
            """What a customer spends, in other words."""
            amount = orders["amount"]
            return {
                "last_amount": amount.last(),
                "large": (amount > 2).sum(window="1d"),
                "share": amount.last() / amount.first(),
            }

    return project


def test_a_class_has_the_fingerprint_of_its_function(workspace):
    one, other = (project_of(as_class=as_class) for as_class in (True, False))
    name = "customer_spending2_d"
    assert [specs.fingerprint(spec) for spec in one.specs()[-1:]] == [specs.fingerprint(other.specs()[-1])]
    assert specs.encode(one.specs()[-1]).replace(b", in other words", b"") == specs.encode(other.specs()[-1]).replace(
        b", in other words", b""
    )
    workspace.apply(one)
    (change,) = [change for change in workspace.plan(other).changes if change.name == name]
    assert (change.action, change.detail) == ("describe", "description")
    assert one.definitions[name].spec.description == "What a customer spends."
    assert one.definitions[name](tm.Rows()).keys() == {"last_amount", "large", "share"}


def test_a_class_is_read_as_its_function_is(workspace):
    project = project_of(as_class=True)
    workspace.apply(project)
    workspace.ingest()
    spine = pl.DataFrame({"customer": ["a"], "timestamp": [at(9)]})
    view = project.definitions["customer_spending2_d"]
    got = workspace.get_historical_features(spine, [view, view["large"].on("customer", prefix="my_")])
    assert got.row(0)[2:] == (3.0, 1, 3.0, 1)
    assert workspace.get_historical_features(spine, [view["share"]])["share"].to_list() == [3.0]


def refused(message, written, hint=""):
    project = tm.Project("shop")
    with pytest.raises(DefinitionError, match=message) as info:
        project.feature_view(entity=project.entity("customer", key="customer"))(written)
    assert hint in info.value.hint


def test_a_class_that_is_not_a_view_is_refused():
    rows = tm.Rows()
    refused("'spending' reads 0 sources", type("Spending", (), {"x": rows["a"].last()}), "orders = tm.Rows()")
    refused("'spending' reads 2 sources", type("Spending", (), {"a": rows, "b": rows}))
    refused("'x' of feature view 'spending' is 7, not an aggregate", type("Spending", (), {"a": rows, "x": 7}))
    refused("'x' of feature view 'spending' is", type("Spending", (), {"a": rows, "x": rows["a"]}), ".last()")
    refused("'x' of feature view 'spending' is", type("Spending", (), {"a": rows, "x": lambda self: 1}), "call it _x")
    refused("returned no features", type("Spending", (), {"a": rows}))
    refused("with the base Base", type("Spending", (type("Base", (), {}),), {"a": rows, "x": rows["a"].last()}))
    refused("sum needs a window", type("Spending", (), {"a": rows, "x": rows["a"].sum()}))
    refused("'Upper' cannot be the name of a feature", type("Spending", (), {"a": rows, "Upper": rows["a"].last()}))
    refused("'größe' cannot be the name of a feature view", type("Größe", (), {"a": rows, "x": rows["a"].last()}))
