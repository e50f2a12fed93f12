"""A shop whose label hangs on one planted feature, and not at all on another, for tests of ablations."""

import random
from datetime import timedelta

import polars as pl
from conftest import START
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import tinymlops as tm

HOURS = 24 * 60
UTC_TIMES = pl.Datetime("us", "UTC")


def project(hours=HOURS, *, variants=False, number=False):
    """Signals of one customer each hour; the order half an hour later has the sign of `vital`, mostly.

    `left` and `right` are the same number, which the label hangs on a little.
    """
    chance = random.Random(3)
    signals, orders, visits = [], [], []
    for hour in range(hours):
        at = START + timedelta(hours=hour)
        vital, useless, twin = (chance.gauss(0, 1) for _ in range(3))
        signals.append(("a", at, vital, useless, twin, twin))
        visits.append((hour, "a", at + timedelta(minutes=10)))
        orders.append(("a", at + timedelta(minutes=30), 2 * vital + twin + chance.gauss(0, 1)))
    frames = {
        "signals": pl.DataFrame(
            signals,
            schema={"customer": pl.String, "at": UTC_TIMES}
            | dict.fromkeys(("vital", "useless", "left", "right"), pl.Float64),
            orient="row",
        ),
        "orders": pl.DataFrame(
            orders, schema={"customer": pl.String, "at": UTC_TIMES, "amount": pl.Float64}, orient="row"
        ),
        "visits": pl.DataFrame(
            visits, schema={"visit": pl.Int64, "customer": pl.String, "at": UTC_TIMES}, orient="row"
        ),
    }
    made = tm.Project("ablated")
    customer = made.entity("customer", key="customer")
    made.entity("visit", key="visit")

    @made.source(timestamp="at")
    def signals() -> pl.DataFrame:
        return frames["signals"]

    @made.source(timestamp="at")
    def orders() -> pl.DataFrame:
        return frames["orders"]

    @made.source(timestamp="at", id="visit")
    def visits() -> pl.DataFrame:
        return frames["visits"]

    @made.feature_view(entity=customer)
    def mood(signals: tm.Rows) -> tm.Features:
        return {"vital": (signals["vital"] > 0).last() if variants else signals["vital"].last()}

    @made.feature_view(entity=customer)
    def noise(signals: tm.Rows) -> tm.Features:
        return {"useless": signals["useless"].last()}

    @made.feature_view(entity=customer)
    def twins(signals: tm.Rows) -> tm.Features:
        return {"left": signals["left"].last(), "right": signals["right"].last()}

    @made.label(entity=customer, horizon="40m")
    def buys(orders: tm.Rows) -> tm.Label:
        return orders["amount"].last() if number else (orders["amount"] > 0).last()

    older = [mood.variant("v1")] if variants else []
    made.training_set("buyers", spine=visits, label=buys, features=[mood, noise, twins, *older])
    return made


def fit(X, y):
    """Fit quickly."""
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)


def fit_any(X, y):
    """Fit also where features are missing."""
    return make_pipeline(SimpleImputer(keep_empty_features=True), LogisticRegression()).fit(X, y)
