"""Houses that are sold: a model that answers a number, as a module that can be imported, as Python code of features must be."""

from datetime import UTC, datetime, timedelta

import polars as pl

import tinymlops as tm

START = datetime(2024, 1, 1, tzinfo=UTC)
CITIES = 25


def sales_of(count):
    """Sales, one an hour; how long each waits until it is known is for those who ask."""
    n = pl.int_range(count, eager=True)
    return pl.DataFrame(
        {
            "n": n,
            "house": n % 5,
            "at": [START + timedelta(hours=hour) for hour in n],
            "paid": n * 1.5,
            "city": [f"c{hour % CITIES:02}" for hour in n],
            "wait": [timedelta(hours=24 + hour % 50) for hour in n],
        }
    )


def features_of(project, house, sales):
    """Declare the view of a source of sales, and the label over it."""

    @project.feature_view(entity=house)
    def past(sales: tm.Rows) -> tm.Features:
        return {"last_paid": sales["paid"].last(), "last_city": sales["city"].last()}

    @project.label(entity=house, horizon="1d")
    def next_paid(sales: tm.Rows) -> tm.Label:
        return sales["paid"].first()

    return past, next_paid


houses = tm.Project("houses")
house = houses.entity("house", key="house")


@houses.source(timestamp="at", id="n")
def sales() -> pl.DataFrame:
    """What was paid."""
    return sales_of(300)


past, next_paid = features_of(houses, house, sales)


@houses.on_demand
def doubled(past: tm.Inputs) -> dict[str, pl.Expr]:
    """A name that begins with that of a feature of the view."""
    return {"last_paid_twice": past["last_paid"] * 2}


sold = houses.training_set("sold", spine=sales, label=next_paid, features=[past, doubled])


def register(ws, project=houses, training_set=sold, **options):
    """Apply the definitions, fit a model and register it as `price`."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline

    ws.apply(project)
    ws.ingest()
    ws.materialize()
    data = ws.get_training_data(training_set)
    with ws.start_run("price", data=data) as run:
        numbers = ColumnTransformer([("numbers", SimpleImputer(), ["last_paid"])])
        run.log_model(make_pipeline(numbers, LinearRegression()).fit(data.train.X, data.train.y))
    return ws.register_model("price", run=run, **options)
