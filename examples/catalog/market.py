"""A small shop: who of its visitors buys within a week, and which orders come back.

This file holds definitions only: importing it reads nothing. `python show.py` walks through the catalog with them.
"""

from __future__ import annotations

from datetime import datetime

import polars as pl

import tinymlops as tm

project = tm.Project("market", tz="Europe/Vienna")

project.term("large order", "An order of 100 EUR or more.", aliases=["big basket"], owner="ana")
project.term("return", "Goods that a customer sent back, counted once the parcel arrived.", owner="ben")
project.term("conversion", "A visit that an order follows within a week.", aliases=["purchase"], owner="ana")

customer = project.entity("customer", key="customer_id", description="Who buys.", owner="ana", aliases=["customerId"])
product = project.entity("product", key="product_id", description="What is sold.", owner="ben")
city = project.entity("city", key="city", description="Where a customer lives.", owner="ana")
taste = project.entity("taste", key=["customer_id", "category"], description="A customer and a category.", owner="ana")
order = project.entity("order", key="order_id", description="One purchase.", owner="ben")


@project.source(timestamp="ordered_at", id="order_id", owner="ben", tags=["sales"], unit={"amount": "EUR"})
def orders() -> str:
    """Every order, one file a delivery; a changed row with the same id replaces the earlier one from then on."""
    return "select * from read_csv('data/orders/*.csv')"


@project.source(timestamp="ordered_at", id="line_id", owner="ben", tags=["sales"], unit={"price": "EUR"})
def order_lines() -> str:
    """What each order holds."""
    return "select * from read_parquet('data/order_lines.parquet')"


@project.source(timestamp="arrived_at", id="order_id", cursor="arrived_at", owner="ben", unit={"refund": "EUR"})
def returned(since: datetime | None) -> pl.DataFrame:
    """Every return, read from where the last ingest ended."""
    rows = pl.read_parquet("data/returned.parquet")
    return rows if since is None else rows.filter(pl.col("arrived_at") >= since)


@project.source(timestamp="visited_at", id="visit_id", owner="ana", tags=["web"])
def visits() -> pl.LazyFrame:
    """Every visit of a known customer: the moments of prediction."""
    return pl.scan_parquet("data/visits.parquet")


@project.source(timestamp="at", id="click_id", owner="ana", tags=["web"], unit={"seconds": "s"})
def clicks() -> tm.Schema:
    """What a customer looks at; the web server pushes it."""
    return {"click_id": str, "customer_id": int, "product_id": int, "at": "Datetime[us, UTC]", "seconds": float}


@project.source(timestamp="counted_at", delay="1h", owner="ben", unit={"pieces": "pieces"})
def stock() -> str:
    """Pieces in the warehouse, counted every night and known an hour later."""
    return "select * from read_parquet('data/stock.parquet')"


@project.source(static=True, owner="ana")
def customers() -> str:
    """Where each customer lives."""
    return "select * from read_csv('data/customers.csv')"


@project.source(static=True, owner="ben", unit={"list_price": "EUR", "weight": "kg"})
def products() -> pl.DataFrame:
    """The properties of each product."""
    return pl.read_csv("data/products.csv")


@project.transformation(row_wise=True, owner="ben", unit={"amount": "EUR"})
def paid_orders(orders: tm.Rows) -> str:
    """Orders that were paid."""
    return "select * from orders where status <> 'cancelled'"


@project.transformation(row_wise=True, owner="ana", unit={"seconds": "s"})
def long_looks(clicks: tm.Rows) -> pl.LazyFrame:
    """Clicks that lasted longer than a glance, a minute at most."""
    return clicks.filter(pl.col("seconds") > 2).with_columns(pl.col("seconds").clip(0, 60))


@project.transformation(timestamp="ordered_at", id="line_id", owner="ben", unit={"value": "EUR"})
def sold(order_lines: tm.Rows, products: tm.Rows) -> str:
    """Lines of orders with what is known of their products."""
    return """
        select line_id, customer_id, product_id, category, pieces * price as value, ordered_at
        from order_lines join products using (product_id)
    """


@project.transformation(timestamp="day_end", delay="2h", owner="ana", unit={"revenue": "EUR", "orders": "orders"})
def city_days(orders: tm.Rows) -> str:
    """Revenue of a city and day, dated at the end of the day and complete two hours later."""
    return """
        select city, date_trunc('day', ordered_at) + interval 1 day as day_end, sum(amount) as revenue, count(*) as orders
        from orders group by all
    """


@project.feature_view(
    entity=customer, owner="ana", tags=["sales"], unit={"last_amount": "EUR", "spent": "EUR", "large": "share"}
)
def spending(paid_orders: tm.Rows) -> tm.Features:
    """What a customer spends.

    large: The share of a large order among those of 90 days.
    """
    amount = paid_orders["amount"]
    return {
        "last_amount": amount.last(),
        "spent": amount.sum(window="30d"),
        "large": (amount >= 100).mean(window="90d"),
    }


@project.feature_view(entity=customer, owner="ana", unit={"days": "d", "orders_30d": "orders"})
def rhythm(paid_orders: tm.Rows) -> tm.Features:
    """How often a customer orders."""
    return {
        "days": paid_orders.time_since_last(window="365d") / 86_400,
        "orders_30d": paid_orders.count(window="30d"),
    }


@project.feature_view(entity=customer, owner="ben", unit={"refunds_90d": "EUR", "returns_90d": "returns"})
def returning(returned: tm.Rows) -> tm.Features:
    """What a customer sends back; a return counts once the parcel arrived."""
    return {"refunds_90d": returned["refund"].sum(window="90d"), "returns_90d": returned.count(window="90d")}


@project.feature_view(entity=customer, owner="ana", unit={"seconds_1d": "s", "looks_1d": "looks"})
def browsing(long_looks: tm.Rows) -> tm.Features:
    """What a customer looked at on the last day."""
    return {"seconds_1d": long_looks["seconds"].sum(window="1d"), "looks_1d": long_looks.count(window="1d")}


@project.feature_view(entity=customer, owner="ana", unit={"age": "years"})
class Profile:
    """Who a customer is."""

    customers = tm.Rows()

    age = customers["age"].last()
    member = customers["member"].last()


@project.feature_view(entity=product, owner="ben", unit={"sold_7d": "EUR", "buyers_30d": "customers"})
def popularity(sold: tm.Rows) -> tm.Features:
    """How well a product sells."""
    return {
        "sold_7d": sold["value"].sum(window="7d"),
        "buyers_30d": sold["customer_id"].n_unique(window="30d"),
    }


@project.feature_view(entity=product, owner="ben", unit={"list_price": "EUR", "weight": "kg"})
def properties(products: tm.Rows) -> tm.Features:
    """The price and weight of a product."""
    return {"list_price": products["list_price"].last(), "weight": products["weight"].last()}


@project.feature_view(entity=product, ttl="3d", owner="ben", unit={"pieces": "pieces", "least_7d": "pieces"})
def availability(stock: tm.Rows) -> tm.Features:
    """How many pieces of a product there are."""
    return {"pieces": stock["pieces"].last(), "least_7d": stock["pieces"].min(window="7d")}


@project.feature_view(entity=taste, owner="ana", unit={"value_90d": "EUR", "share": "EUR"})
def affinity(sold: tm.Rows) -> tm.Features:
    """How much a customer likes a category."""
    return {"value_90d": sold["value"].sum(window="90d"), "share": sold["value"].mean(window="90d")}


@project.feature_view(entity=city, owner="ana", unit={"revenue_7d": "EUR", "orders_7d": "orders"})
def demand(city_days: tm.Rows) -> tm.Features:
    """How well a city buys."""
    return {"revenue_7d": city_days["revenue"].sum(window="7d"), "orders_7d": city_days["orders"].sum(window="7d")}


@project.on_demand(owner="ana", unit={"hour": "h", "weekday": "day of the week"})
def calendar(timestamp: pl.Expr) -> dict[str, pl.Expr]:
    """The local time of the visit."""
    local = timestamp.dt.convert_time_zone("Europe/Vienna")
    return {"hour": local.dt.hour(), "weekday": local.dt.weekday()}


@project.on_demand(owner="ana", unit={"of_last": "share", "of_city": "share"})
def appetite(spending: tm.Inputs, demand: tm.Inputs, basket: pl.Expr) -> dict[str, pl.Expr]:
    """The basket beside what the customer, and the whole city, usually spend."""
    return {
        "of_last": basket / (spending["last_amount"] + 1),
        "of_city": basket / (demand["revenue_7d"] / (demand["orders_7d"] + 1) + 1),
    }


@project.label(entity=customer, horizon="7d", owner="ana", unit="orders")
def conversion(paid_orders: tm.Rows) -> tm.Label:
    """Whether an order follows within a week."""
    return paid_orders.count()


@project.label(entity=order, horizon="30d", owner="ben", unit="EUR")
def refund(returned: tm.Rows) -> tm.Label:
    """What is paid back for an order."""
    return returned["refund"].sum()


storefront = project.service(
    "storefront",
    features=[spending, rhythm, browsing, Profile, demand],
    description="What the shop's first page asks for.",
    owner="ana",
)
shelf = project.service(
    "shelf", features=[popularity, properties, availability], description="What a product's page asks for.", owner="ben"
)

buyers = project.training_set(
    "buyers",
    spine=visits,
    label=conversion,
    features=[storefront, returning, affinity, calendar, appetite],
    owner="ana",
)
comebacks = project.training_set(
    "comebacks", spine=paid_orders, label=refund, features=[spending, returning, Profile], owner="ben"
)

project.check(
    orders,
    tm.not_null("customer_id"),
    tm.between("amount", 0, 2_000),
    tm.one_of("status", ["paid", "cancelled"]),
    action="quarantine",
)
project.check(orders, tm.unique("order_id"), action="fail")
project.check(returned, tm.Rows()["refund"] >= 0, action="quarantine")
project.check(clicks, tm.between("seconds", 0, 3_600))
project.check(stock, tm.volume(1), tm.not_null("product_id"))
