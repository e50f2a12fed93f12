"""A replay of rows that are hard, and of a project without a leak: the plain rule and the kernels must agree on each."""

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest

import tinymlops as tm

START = datetime(2024, 3, 1, tzinfo=UTC)


def orders(chance, *, versions):
    """Orders of composite keys with nulls, late ones, ties, deletes and values of many types."""
    rows = []
    for number in range(120):
        at = START + timedelta(hours=chance.randrange(60))
        for _ in range(chance.choice([1, 1, 2]) if versions else 1):
            amount = chance.choice([None, 1.5, -2.0, 0.1])
            known = at + timedelta(hours=chance.randrange(9))
            rows.append(
                {
                    "order": f"ö{number}" if chance.random() > 0.1 else None,
                    "shop": chance.choice([1, 2, None]),
                    "kind": chance.choice(["a", "b", None]),
                    "at": at,
                    "known": known if chance.random() > 0.1 else None,
                    "wait": timedelta(hours=chance.randrange(3)),
                    "amount": amount,
                    "price": Decimal("1.25") * chance.randrange(4),
                    "great": 2**63 + chance.randrange(9),
                    "deleted": versions and chance.random() > 0.9,
                }
            )
    rows = [{**row, "deleted": row["deleted"] and row["order"] is not None} for row in rows]
    return pl.DataFrame(rows, schema_overrides={"great": pl.UInt64}).with_columns(
        pl.col("kind").cast(pl.Categorical), *[pl.col(name).cast(pl.Datetime("us", "UTC")) for name in ("at", "known")]
    )


def visits(chance, count):
    rows = [
        {
            "visit": f"v{number}",
            "shop": chance.choice([1, 2, 9, None]),
            "kind": chance.choice(["a", "b", "z", None]),
            "at": START + timedelta(hours=chance.randrange(70)),
        }
        for number in range(count)
    ]
    types = {"visit": pl.String, "shop": pl.Int32, "kind": pl.String, "at": pl.Datetime("us", "UTC")}
    return pl.DataFrame(rows, schema=types)


def hard_project(frames, *, created):
    project = tm.Project("hard")
    place = project.entity("place", key=["shop", "kind"])

    @project.source(timestamp="at", id="order", created="known" if created else None, delay="wait")
    def orders() -> pl.DataFrame:
        return frames["orders"]

    @project.source(timestamp="at", id="visit")
    def visits() -> pl.DataFrame:
        return frames["visits"]

    @project.feature_view(entity=place, ttl="20h")
    def newest(orders: tm.Rows) -> tm.Features:
        return {
            "amount": orders["amount"].last(),
            "amount_known": orders["amount"].last(skip_nulls=True),
            "price": orders["price"].last(),
            "great": orders["great"].last(),
            "oldest": orders["amount"].first(),
        }

    @project.feature_view(entity=place)
    def ever(orders: tm.Rows) -> tm.Features:
        return {
            "ever": orders["amount"].last(),
            "spent": orders["amount"].sum(window="24h"),
            "n": orders.count(window="3h"),
        }

    @project.label(entity=place, horizon="5h")
    def buys(orders: tm.Rows) -> tm.Label:
        return orders.count() > 0

    project.training_set("visited", spine=visits, label=buys, features=[newest, ever])
    return project


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("created", [True, False])
def test_the_plain_rule_and_the_kernels_agree_on_hard_rows(workspace, seed, created):
    chance = random.Random(seed)
    frames = {"orders": orders(chance, versions=created), "visits": visits(chance, 150)}
    workspace.apply(hard_project(frames, created=created))
    workspace.ingest()
    if not created:  # corrections that later ingests bring
        for _ in range(2):
            changed = pl.col("amount").fill_null(0.0) + 1
            frames["orders"] = frames["orders"].with_columns(
                pl.when(pl.col("wait") > timedelta(0)).then(changed).otherwise("amount")
            )
            workspace.ingest("orders")
    report = workspace.lint(replay=150, seed=seed)
    assert report.findings == []
    assert report.replayed == 150


@pytest.mark.parametrize("count", [0, 1])
def test_a_spine_of_hardly_any_row_is_linted(workspace, count):
    chance = random.Random(1)
    workspace.apply(
        hard_project({"orders": orders(chance, versions=True), "visits": visits(chance, count)}, created=True)
    )
    workspace.ingest()
    report = workspace.lint(pure=True)
    assert (report.replayed, report.clean) == (count, True)
    assert {finding.rule for finding in report.findings} <= {"not-run"}
