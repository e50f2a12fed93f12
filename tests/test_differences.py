"""How two versions of a definition differ, in words."""

import polars as pl
import pytest

import tinymlops as tm
from tinymlops.features.law.differences import differences


def project(**changes):
    made = tm.Project("p", tz=changes.get("zone", "UTC"))
    customer = made.entity("customer", key=changes.get("key", "id"))
    options = {name: changes[name] for name in ("delay", "id", "tz") if name in changes}

    @made.source(timestamp="at", **options)
    def orders() -> pl.DataFrame:
        raise NotImplementedError

    @made.feature_view(entity=customer, ttl=changes.get("ttl"))
    def spending(orders: tm.Rows) -> tm.Features:
        return changes.get("features", lambda rows: {"last": rows["amount"].last()})(orders)

    @made.label(entity=customer, horizon=changes.get("horizon", "7d"))
    def again(orders: tm.Rows) -> tm.Label:
        return changes.get("label", lambda rows: rows.count() > 0)(orders)

    made.training_set("set", spine=orders, label=again, features=[spending])
    return {spec.name: spec for spec in made.specs()}


def spent(window, **options):
    return lambda rows: {"last": rows["amount"].last(), "spent": rows["amount"].sum(window=window, **options)}


@pytest.mark.parametrize(
    ("name", "before", "after", "found"),
    [
        ("spending", {"ttl": "1d"}, {"ttl": "36h"}, ["ttl 1d -> 1d12h"]),
        ("spending", {"ttl": "1d"}, {}, ["ttl 1d -> none"]),
        ("spending", {"features": spent("30d")}, {"features": spent("31d")}, ["spent.window 30d -> 31d"]),
        ("spending", {}, {"features": spent("1d")}, ["+spent"]),
        ("spending", {"features": spent("1d")}, {}, ["-spent"]),
        (
            "spending",
            {"features": lambda rows: {"last": rows["amount"].last()}},
            {"features": lambda rows: {"last": rows["amount"].first()}},
            ["last.function last -> first"],
        ),
        (
            "spending",
            {"features": lambda rows: {"last": rows["amount"].last()}},
            {"features": lambda rows: {"last": rows["paid"].last()}},
            ["last last of amount -> last of paid"],
        ),
        ("orders", {}, {"delay": "2h", "id": "order"}, ["id none -> order", "delay none -> 2h"]),
        ("again", {"horizon": "7d"}, {"horizon": "14d"}, ["horizon 7d -> 14d"]),
        ("set", {}, {"zone": "Europe/Berlin"}, ["tz UTC -> Europe/Berlin"]),
        ("customer", {"key": "id"}, {"key": ["shop", "id"]}, ["key id -> shop, id"]),
        ("spending", {}, {}, []),
    ],
)
def test_a_difference_is_told_field_by_field(name, before, after, found):
    assert differences(project(**before)[name], project(**after)[name]) == found


def test_what_is_computed_of_other_rows_is_told_though_it_reads_alike():
    def of(limit):
        return lambda rows: {"late": (rows["delay"] > limit).mean(window="7d")}

    (told,) = differences(project(features=of(15))["spending"], project(features=of(30))["spending"])
    assert told.startswith("late")
