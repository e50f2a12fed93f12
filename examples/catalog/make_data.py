"""Make the shop's tables: half a year up to yesterday, a few thousand rows, the same numbers every day.

python make_data.py        # writes data/ beside this file
"""

from __future__ import annotations

import random
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

DAYS, CUSTOMERS, PRODUCTS, VISITS = 180, 120, 24, 2_000
CITIES = ["Wien", "Graz", "Linz", "Brno", "Zürich", "Αθήνα"]
CATEGORIES = ["tea", "coffee", "cups", "books"]


def make_data(folder: Path, *, until: datetime | None = None) -> dict[str, int]:
    """Write the tables.

    Args:
        folder: Where to, made if need be.
        until: The end of the last day, aware; by default the last midnight in UTC.

    Returns:
        Table to rows.
    """
    end = until or datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    chance = random.Random(7)
    (folder / "orders").mkdir(parents=True, exist_ok=True)
    customers = [_customer(number, chance) for number in range(CUSTOMERS)]
    products = [_product(number, chance) for number in range(PRODUCTS)]
    visits = sorted((_visit(end, customers, chance) for _ in range(VISITS)), key=lambda row: row["visited_at"])
    for number, visit in enumerate(visits):
        visit["visit_id"] = f"v{number}"
    lines = [line for visit in visits if _buys(visit, customers, chance) for line in _lines(visit, products, chance)]
    for number, line in enumerate(lines):
        line["line_id"] = number
    orders = _orders(lines, customers, chance)
    returned = [_return(one, chance) for one in orders if chance.random() < 0.12]
    tables = {
        "customers.csv": pl.DataFrame(customers).drop("loyal"),
        "products.csv": pl.DataFrame(products),
        "visits.parquet": pl.DataFrame(visits),
        "order_lines.parquet": pl.DataFrame(lines).drop("order_id"),
        "orders/000.csv": pl.DataFrame(orders),
        "returned.parquet": pl.DataFrame(returned).filter(pl.col("arrived_at") < end),
        "stock.parquet": _stock(end, chance),
    }
    for name, table in tables.items():
        _write(table, folder / name)
    return {name: table.height for name, table in tables.items()}


def a_delivery(folder: Path, name: str, amounts: list[float]) -> None:
    """Write another file of orders, one for each amount, which happened within the last hour before midnight.

    Args:
        folder: That of `make_data`.
        name: Of the delivery; part of its order ids.
        amounts: In EUR.
    """
    known = pl.read_csv(folder / "orders" / "000.csv", try_parse_dates=True)
    newest = known["ordered_at"].max()
    assert isinstance(newest, datetime)
    rows = known.tail(len(amounts)).with_columns(
        order_id=pl.format("{}-{}", pl.lit(name), pl.int_range(pl.len())),
        amount=pl.Series(amounts),
        status=pl.lit("paid"),
        ordered_at=pl.Series([newest + timedelta(seconds=second + 1) for second in range(len(amounts))]),
    )
    _write(rows, folder / "orders" / f"{name}.csv")


def another_month(folder: Path) -> None:
    """Change what was known: an order is cancelled and another is gone, two orders come late, and so do two visits.

    Args:
        folder: That of `make_data`.
    """
    path = folder / "orders" / "000.csv"
    orders = pl.read_csv(path, try_parse_dates=True).with_row_index()
    paid = orders.filter(pl.col("status") == "paid")
    cancelled, gone, *late = paid["index"].gather([-60, -80, -100, -120])
    status = pl.when(pl.col("index") == cancelled).then(pl.lit("cancelled")).otherwise("status").alias("status")
    _write(orders.filter(pl.col("index") != gone).with_columns(status).drop("index"), path)
    again = orders.filter(pl.col("index").is_in(late)).drop("index")
    _write(
        again.with_columns(("late-" + pl.col("order_id")).alias("order_id"), pl.col("ordered_at").dt.offset_by("2h")),
        folder / "orders" / "late.csv",
    )
    visits = pl.read_parquet(folder / "visits.parquet")
    more = visits[-400:-398].with_columns(
        ("late-" + pl.col("visit_id")).alias("visit_id"), pl.col("visited_at").dt.offset_by("1h")
    )
    _write(pl.concat([visits, more]), folder / "visits.parquet")


def _customer(number: int, chance: random.Random) -> dict[str, Any]:
    return {
        "customer_id": number,
        "city": chance.choice(CITIES),
        "age": chance.randint(18, 80),
        "member": chance.random() < 0.3,
        "loyal": chance.random(),
    }


def _product(number: int, chance: random.Random) -> dict[str, Any]:
    return {
        "product_id": number,
        "category": CATEGORIES[number % len(CATEGORIES)],
        "list_price": round(chance.uniform(3, 60), 2),
        "weight": round(chance.uniform(0.1, 2), 2),
    }


def _visit(end: datetime, customers: list[dict[str, Any]], chance: random.Random) -> dict[str, Any]:
    who = chance.choices(customers, [0.2 + one["loyal"] for one in customers])[0]
    return {
        "customer_id": who["customer_id"],
        "city": who["city"],
        "category": chance.choice(CATEGORIES),
        "basket": round(chance.uniform(5, 150), 2),
        "visited_at": end - timedelta(seconds=chance.randrange(60, DAYS * 86_400)),
    }


def _buys(visit: dict[str, Any], customers: list[dict[str, Any]], chance: random.Random) -> bool:
    return chance.random() < 0.1 + 0.6 * float(customers[visit["customer_id"]]["loyal"])


def _lines(visit: dict[str, Any], products: list[dict[str, Any]], chance: random.Random) -> list[dict[str, Any]]:
    bought = chance.sample(products, chance.randint(1, 3))
    return [
        {
            "order_id": f"o{visit['visit_id'][1:]}",
            "customer_id": visit["customer_id"],
            "product_id": one["product_id"],
            "pieces": chance.randint(1, 3),
            "price": one["list_price"],
            "ordered_at": visit["visited_at"] + timedelta(minutes=1),
        }
        for one in bought
    ]


def _orders(
    lines: list[dict[str, Any]], customers: list[dict[str, Any]], chance: random.Random
) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for line in lines:
        order = found.setdefault(
            line["order_id"],
            {
                "order_id": line["order_id"],
                "customer_id": line["customer_id"],
                "city": customers[line["customer_id"]]["city"],
                "amount": 0.0,
                "status": "cancelled" if chance.random() < 0.05 else "paid",
                "ordered_at": line["ordered_at"],
            },
        )
        order["amount"] = round(order["amount"] + line["pieces"] * line["price"], 2)
    return list(found.values())


def _return(order: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    return {
        "order_id": order["order_id"],
        "customer_id": order["customer_id"],
        "refund": round(order["amount"] * chance.choice([0.3, 0.5, 1.0]), 2),
        "arrived_at": order["ordered_at"] + timedelta(hours=chance.randint(48, 400)),
    }


def _stock(end: datetime, chance: random.Random) -> pl.DataFrame:
    nights = [end - timedelta(days=day, hours=2) for day in range(DAYS, 0, -1)]
    return pl.DataFrame(
        [
            {"product_id": product, "counted_at": night, "pieces": chance.randint(0, 80)}
            for night in nights
            for product in range(PRODUCTS)
        ]
    )


def _write(table: pl.DataFrame, path: Path) -> None:
    if path.suffix == ".csv":
        table.write_csv(path, datetime_format="%Y-%m-%dT%H:%M:%SZ")
    else:
        table.write_parquet(path)


if __name__ == "__main__":
    for name, rows in make_data(Path(__file__).parent / "data").items():
        sys.stdout.write(f"{rows:>7,}  {name}\n")
