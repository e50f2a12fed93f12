"""A small shop with a registered model, as a module that a server's process can import."""

from datetime import UTC, datetime, timedelta

import polars as pl

import tinymlops as tm

NOW = datetime(2024, 2, 1, tzinfo=UTC)
START = datetime(2024, 1, 1, tzinfo=UTC)
CUSTOMERS = 10

project = tm.Project("shop")
customer = project.entity("customer", key="customer")
shopper = project.entity("shopper", key="shopper")


def _hours(count, step):
    return [START + timedelta(hours=step * number) for number in range(count)]


@project.source(timestamp="at", id="order")
def orders() -> pl.DataFrame:
    """An order an hour, of each customer in turn; the odd ones buy more."""
    number = pl.int_range(600, eager=True)
    who = number % CUSTOMERS
    return pl.DataFrame(
        {"order": number, "customer": who, "at": _hours(600, 1), "amount": (who % 2) * 50.0 + number % 7}
    )


@project.source(timestamp="at", id="visit")
def visits() -> pl.DataFrame:
    """Who comes, and how much they mean to spend."""
    number = pl.int_range(200, eager=True)
    return pl.DataFrame(
        {"visit": number, "customer": number * 7 % CUSTOMERS, "at": _hours(200, 3), "budget": (number % 11) * 10.0}
    )


@project.source(timestamp="at", id="click")
def clicks() -> tm.Schema:
    """Pages that a shopper looks at."""
    return {"click": int, "shopper": str, "at": datetime, "seconds": float}


@project.source(timestamp="at")
def pings() -> tm.Schema:
    """Signs of life, which nothing tells apart."""
    return {"shopper": str, "at": datetime, "strength": int}


@project.feature_view(entity=customer)
def spending(orders: tm.Rows) -> tm.Features:
    """What this customer spends."""
    return {"last_amount": orders["amount"].last(), "spent_7d": orders["amount"].sum(window="7d")}


@project.feature_view(entity=shopper)
def interest(clicks: tm.Rows) -> tm.Features:
    """How long this shopper stays."""
    return {"last_seconds": clicks["seconds"].last(), "clicks_1d": clicks.count(window="1d")}


@project.on_demand
def room(spending: tm.Inputs, budget: pl.Expr) -> dict[str, pl.Expr]:
    """What is left of the budget after an order like the last."""
    return {"left": budget - spending["last_amount"]}


@project.label(entity=customer, horizon="1d")
def splurges(orders: tm.Rows) -> tm.Label:
    """Whether an order over 20 follows within a day."""
    return (orders["amount"] > 20).last()


visits_to_orders = project.training_set("visits_to_orders", spine=visits, label=splurges, features=[spending, room])


def build(path):
    """Make the workspace, with two versions of a model and champion at the first."""
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    with tm.connect(path, create=True, clock=tm.ReplayClock(NOW)) as ws:
        ws.apply(project)
        ws.ingest()
        ws.materialize()
        data = ws.get_training_data(visits_to_orders)
        for strength in (1.0, 0.1):
            with ws.start_run("linear", data=data, params={"C": strength}) as run:
                model = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression(C=strength))
                run.log_model(model.fit(data.train.X, data.train.y))
            ws.register_model("splurge", run=run, alias="champion" if strength == 1.0 else None)
