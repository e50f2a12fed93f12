"""A small project to change into your own: what customers ordered, and features of it."""

import tinymlops as tm

project = tm.Project("shop")
customer = project.entity("customer", key="customer_id")


# A source is SQL over files, or a function that returns a Polars frame. With `id`, a row that comes again with other
# values is a correction of the earlier one.
@project.source(timestamp="ordered_at", id="order_id")
def orders() -> str:
    """Every order."""
    return "select * from read_csv('data/orders.csv')"


# Features of a customer as of any moment: training rows see what was known at their time, and online reads the same.
@project.feature_view(entity=customer)
def spending(orders: tm.Rows) -> tm.Features:
    """What a customer has been spending."""
    amount = orders["amount"]
    return {
        "last_amount": amount.last(),
        "spent_30d": amount.sum(window="30d"),
        "large_30d": (amount > 100).sum(window="30d"),
        "orders_30d": orders.count(window="30d"),
    }
