"""Orders that are corrected, taken back and moved to another customer, with a training set and a model on them.

`tests/fixtures/schema_2.zip` is what `build` made when every row was read in its final version, whenever that came.
"""

from datetime import UTC, datetime, timedelta

import polars as pl
from sklearn.linear_model import LinearRegression

import tinymlops as tm

START = datetime(2024, 4, 1, tzinfo=UTC)
ORDERS = {
    "order": [1, 2, 3, 4],
    "customer": ["a", "a", "b", "b"],
    "amount": [10.0, 20.0, 30.0, 40.0],
    "at": [START + timedelta(days=day) for day in (1, 2, 3, 4)],
}
FRAMES = {"orders": pl.DataFrame(ORDERS)}


def day(number):
    return START + timedelta(days=number)


def changed(**columns):
    """The orders with some values replaced, by order."""
    frame = pl.DataFrame(ORDERS)
    for name, values in columns.items():
        frame = frame.with_columns(
            pl.Series(name, [values.get(o, v) for o, v in zip(frame["order"], frame[name], strict=True)])
        )
    return frame


def project(**options):
    """The definitions; `options` are of the source of orders."""
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at", id="order", **options)
    def orders() -> pl.DataFrame:
        return FRAMES["orders"]

    @project.source(timestamp="at")
    def visits() -> pl.DataFrame:
        times = [day(number) for number in (5, 6, 7, 8)]
        return pl.DataFrame({"customer": ["a", "b"] * 4, "at": [time for time in times for _ in range(2)]})

    @project.feature_view(entity=customer)
    def spending(orders: tm.Rows) -> tm.Features:
        amount = orders["amount"]
        return {"last": amount.last(), "spent": amount.sum(window="90d"), "n": orders.count(window="90d")}

    @project.label(entity=customer, horizon="1d")
    def bought(orders: tm.Rows) -> tm.Label:
        return orders["amount"].sum()

    project.training_set("spending_of_visits", spine=visits, label=bought, features=[spending])
    return project


def build(path):
    """Ingest on days 5, 10 and 15, compact what came first, build, train, register, materialize and predict."""
    clock = tm.ReplayClock(day(5))
    with tm.connect(path, create=True, clock=clock) as ws:
        ws.apply(project())
        ws.ingest()
        clock.advance(timedelta(days=5))
        FRAMES["orders"] = changed(amount={1: 11.0})
        ws.ingest(complete_until=clock())
        ws.compact("orders")
        clock.advance(timedelta(days=5))
        FRAMES["orders"] = changed(amount={1: 12.0, 3: 33.0}).filter(pl.col("order") != 2)
        ws.ingest("orders", full=True)
        ws.ingest(complete_until=clock())
        data = ws.get_training_data("spending_of_visits")
        with ws.start_run("first", data=data) as run:
            run.log_model(LinearRegression().fit(data.train.X, data.train.y))
        ws.register_model("spender", run=run, alias="champion")
        ws.materialize()
        ws.predict("spender@champion", [{"customer": "a"}, {"customer": "b"}], sync=True)
