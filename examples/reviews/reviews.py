"""Reviews of films: what they say, found by vectors, and whether their authors liked the film.

This file holds definitions only: importing it reads nothing. `python demo.py` runs the whole path with them.
"""

from __future__ import annotations

import polars as pl
from prepare import DIMENSION

import tinymlops as tm

project = tm.Project("reviews", tz="UTC")
author = project.entity("author", key="author")
review = project.entity("review", key="review")


@project.source(timestamp="written_at", id="review")
def written() -> str:
    """Reviews as they were written: the text and who wrote it."""
    return "select review, author, written_at, site, text from read_parquet('data/reviews.parquet')"


@project.source(timestamp="written_at", id="review")
def asked() -> str:
    """The moment at which the mood of a review is asked for, with the vector of its text."""
    return "select review, author, written_at, site, letters, vector from read_parquet('data/asked.parquet')"


@project.source(timestamp="written_at", id="review")
def verdicts() -> str:
    """Whether the author liked the film; known an hour after the review."""
    return "select review, author, written_at, liked from read_parquet('data/verdicts.parquet')"


texts = project.embedding(
    "texts", source=written, text="text", model="tfidf", dimension=DIMENSION, fitted_at="2024-02-01"
)
"""Each review is searched by itself. Words are weighed as in the reviews of January: later searches know no later word."""


@project.feature_view(entity=author)
def habits(verdicts: tm.Rows) -> tm.Features:
    """How often the author liked a film before, and how many reviews that is."""
    return {"liked_before": verdicts["liked"].mean(window="90d"), "reviews_before": verdicts.count(window="90d")}


@project.on_demand
def form(site: pl.Expr, letters: pl.Expr) -> dict[str, pl.Expr]:
    """Where the review stands and how long it is."""
    return {"is_imdb": (site == "imdb").cast(pl.Int64), "length": letters * 1}


@project.on_demand
def meaning(vector: pl.Expr) -> dict[str, pl.Expr]:
    """The vector of the text, a column for each number."""
    return {f"v{place}": vector.list.get(place) for place in range(DIMENSION)}


@project.label(entity=review, horizon="2h")
def liked(verdicts: tm.Rows) -> tm.Label:
    """Whether the author liked the film."""
    return verdicts["liked"].last()


plain = project.training_set("plain", spine=asked, label=liked, features=[habits, form])
with_texts = project.training_set("with_texts", spine=asked, label=liked, features=[habits, form, meaning])
