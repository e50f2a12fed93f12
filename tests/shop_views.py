"""On-demand views in a module, where a server finds them."""

import polars as pl

import tinymlops as tm


def about(latest: tm.Inputs, moment: pl.Expr, flag: pl.Expr, weight: pl.Expr) -> dict[str, pl.Expr]:
    """Features of a request's own fields."""
    return {"share": latest["score"] / weight, "hour": moment.dt.hour(), "flagged": flag & (latest["score"] > 2)}


def calendar(timestamp: pl.Expr) -> dict[str, pl.Expr]:
    """Features of the time alone."""
    return {"hour_of_day": timestamp.dt.hour(), "weekday": timestamp.dt.weekday()}
