"""What the definitions of `covered_shop` call: a change here is a change of what they compute."""

from datetime import UTC, datetime, timedelta

import polars as pl

START = datetime(2024, 1, 1, tzinfo=UTC)
RATE = 2.0


def hours(count, step):
    """Return times a few hours apart."""
    return [START + timedelta(hours=step * number) for number in range(count)]


def priced(amount: pl.Expr) -> pl.Expr:
    """Return an amount with what comes on top."""
    return amount * RATE


def left(budget: pl.Expr, spent: pl.Expr) -> pl.Expr:
    """Return what is left of a budget."""
    return budget - spent
