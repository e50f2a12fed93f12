"""On-demand views at a read: one value for each row, by the same function offline and online."""

import polars as pl
import pytest
from conftest import at

import tinymlops as tm
from tinymlops.errors import DataError, NotFoundError

SPINE = pl.DataFrame({"customer": ["a", "b", "c"], "friend": ["b", "a", "b"], "word": ["3", "x", "5"]}).with_columns(
    timestamp=pl.lit(at(10))
)


@pytest.fixture
def shop(workspace):
    """An applied and ingested project; the test adds on-demand views and applies again."""
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at")
    def orders() -> pl.DataFrame:
        return pl.DataFrame({"customer": ["a", "b"], "at": [at(1), at(2)], "amount": [1.0, 2.0]})

    @project.feature_view(entity=customer)
    def spending(orders: tm.Rows) -> tm.Features:
        return {"amount": orders["amount"].last()}

    workspace.apply(project)
    workspace.ingest()
    return project


def read(workspace, *features):
    return workspace.get_historical_features(SPINE, list(features))


def test_a_constant_is_one_for_each_row(workspace, shop):
    @shop.on_demand
    def fixed(timestamp: pl.Expr) -> dict[str, pl.Expr]:
        return {"one": pl.lit(1)}

    workspace.apply(shop)
    assert read(workspace, fixed)["one"].to_list() == [1, 1, 1]


def test_a_parameter_reads_a_view_in_the_role_that_its_prefix_says(workspace, shop):
    @shop.on_demand
    def gap(spending: tm.Inputs, friend_spending: tm.Inputs) -> dict[str, pl.Expr]:
        return {"gap": spending["amount"] - friend_spending["amount"]}

    workspace.apply(shop)
    spending = shop.definitions["spending"]
    found = read(workspace, gap, spending, spending.on("friend", prefix="friend_"))
    assert found["gap"].to_list() == [-1.0, 1.0, None]
    assert found.columns[-3:] == ["gap", "amount", "friend_amount"]
    with pytest.raises(NotFoundError, match="'gap' reads 'friend_spending', which is not a feature view of this list"):
        read(workspace, gap, spending)


def test_values_that_an_expression_cannot_take_are_an_error_that_names_the_view(workspace, shop):
    @shop.on_demand
    def number(word: pl.Expr) -> dict[str, pl.Expr]:
        return {"number": word.cast(pl.Int64)}

    workspace.apply(shop)
    with pytest.raises(DataError, match="on-demand view 'number' cannot be computed") as info:
        read(workspace, number)
    assert info.value.hint == "check the types and values of word"


def test_a_view_whose_code_changed_in_this_session_is_refused_until_it_is_applied(workspace, shop):
    def made(factor):
        if factor == 1:

            def twice(word: pl.Expr) -> dict[str, pl.Expr]:
                return {"long": word.str.len_chars()}
        else:

            def twice(word: pl.Expr) -> dict[str, pl.Expr]:
                return {"long": word.str.len_chars() * 2}

        return twice

    first = shop.on_demand(made(1))
    workspace.apply(shop)
    assert read(workspace, first)["long"].to_list() == [1, 1, 1]
    del shop.definitions["twice"]
    second = shop.on_demand(made(2))
    with pytest.raises(tm.TinyMLOpsError, match="on-demand view 'twice' has changed since it was applied") as info:
        read(workspace, second)
    assert info.value.hint == "apply the project again: ws.apply(project)"
    workspace.apply(shop)
    assert read(workspace, second)["long"].to_list() == [2, 2, 2]
