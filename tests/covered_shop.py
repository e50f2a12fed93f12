"""A shop whose Python code calls helpers of another module, as a module that a server's process can import.

`tests/fixtures/schema_8.zip` is what `build` made when a digest covered a definition's own function only.
"""

from datetime import UTC, datetime

import covered_helpers
import polars as pl
from covered_helpers import left

import tinymlops as tm

NOW = datetime(2024, 2, 1, tzinfo=UTC)
CUSTOMERS = 5

project = tm.Project("covered_shop")
customer = project.entity("customer", key="customer")


@project.source(timestamp="at", id="order")
def orders() -> pl.DataFrame:
    """An order every two hours."""
    number = pl.int_range(300, eager=True)
    at = covered_helpers.hours(300, 2)
    return pl.DataFrame({"order": number, "customer": number % CUSTOMERS, "at": at, "amount": number % 7 * 1.0})


@project.source(timestamp="at", id="visit")
def visits() -> pl.DataFrame:
    """Who comes, and how much they mean to spend."""
    number = pl.int_range(100, eager=True)
    at = covered_helpers.hours(100, 5)
    return pl.DataFrame({"visit": number, "customer": number % CUSTOMERS, "at": at, "budget": number % 11 * 1.0})


@project.transformation(row_wise=True)
def paid(orders: pl.LazyFrame) -> pl.LazyFrame:
    """Orders with what comes on top."""
    return orders.with_columns(paid=covered_helpers.priced(pl.col("amount")))


@project.transformation(timestamp="at")
def days(orders: pl.LazyFrame) -> pl.LazyFrame:
    """What each customer spent on a day."""
    day = pl.col("at").dt.truncate("1d").dt.offset_by("1d").alias("at")
    return orders.group_by("customer", day, maintain_order=True).agg(covered_helpers.priced(pl.col("amount")).sum())


@project.feature_view(entity=customer)
def spending(paid: tm.Rows) -> tm.Features:
    """What this customer pays."""
    return {"last_paid": paid["paid"].last(), "paid_7d": paid["paid"].sum(window="7d")}


@project.feature_view(entity=customer)
def daily(days: tm.Rows) -> tm.Features:
    """What this customer spends in a day."""
    return {"of_a_day": days["amount"].last()}


@project.on_demand
def room(spending: tm.Inputs, budget: pl.Expr) -> dict[str, pl.Expr]:
    """What is left of the budget after an order like the last."""
    return {"left": left(budget, spending["last_paid"])}


@project.label(entity=customer, horizon="1d")
def big(orders: tm.Rows) -> tm.Label:
    """Whether an order over 3 follows within a day."""
    return (orders["amount"] > 3).last()


visits_to_orders = project.training_set("visits_to_orders", spine=visits, label=big, features=[spending, daily, room])


def build(path):
    """Make the workspace: rows, online views, a build, and a model that is the champion."""
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    with tm.connect(path, create=True, clock=tm.ReplayClock(NOW)) as ws:
        ws.apply(project)
        ws.ingest()
        ws.materialize()
        data = ws.get_training_data(visits_to_orders)
        with ws.start_run("linear", data=data) as run:
            model = make_pipeline(SimpleImputer(), LogisticRegression())
            run.log_model(model.fit(data.train.X, data.train.y))
        ws.register_model("spender", run=run, alias="champion")
        ws.predict("spender@champion", [{"customer": 1, "budget": 5.0}], sync=True)
