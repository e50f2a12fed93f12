"""A small workspace with a registered model, for tests of later steps."""

import random

import polars as pl
from conftest import at, shop
from sklearn.tree import DecisionTreeClassifier

import tinymlops as tm

UTC_TIMES = pl.Datetime("us", "UTC")
SPLIT, TRAINED_AT = at(24 * 7), at(24 * 10)


def orders_frame(hours, *, seed=1, customers="abc"):
    """Orders of customers, one an hour, whose sign depends on the amount before."""
    chance = random.Random(seed)
    amounts, rows = dict.fromkeys(customers, 1.0), []
    for hour in hours:
        customer = chance.choice(customers)
        amount = (1 if amounts[customer] * chance.choice([1, 1, 1, -1]) > 0 else -1) * round(chance.uniform(0.5, 9), 2)
        amounts[customer] = amount
        rows.append((customer, at(hour), amount))
    return pl.DataFrame(rows, schema={"customer": pl.String, "at": UTC_TIMES, "amount": pl.Float64}, orient="row")


def visits_frame(hours, *, seed=2, customers="abc"):
    """Visits of customers, one an hour."""
    chance = random.Random(seed)
    rows = [(number, chance.choice(customers), at(hour + 0.5)) for number, hour in enumerate(hours)]
    return pl.DataFrame(rows, schema={"visit": pl.Int64, "customer": pl.String, "at": UTC_TIMES}, orient="row")


def project_of_orders(**options):
    return shop(orders_frame(range(1, 400)), visits_frame(range(10, 400)), **options)


def replay(path, clock=None):
    """Open a new workspace with its clock at the end of the training data."""
    return tm.connect(path / "shop.tm", create=True, clock=clock or tm.ReplayClock(TRAINED_AT))


def train(ws, project, *, model=None, name="buyer", alias="champion", test_from=SPLIT):
    """Apply, ingest, fit and register."""
    ws.apply(project)
    ws.ingest()
    data = ws.get_training_data("visits_to_orders", test_from=test_from)
    model = (model or DecisionTreeClassifier(max_depth=3)).fit(data.train.X, data.train.y)
    with ws.start_run("baseline", data=data) as run:
        run.log_model(model)
    ws.register_model(name, run=run, alias=alias)
    return data
