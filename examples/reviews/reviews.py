"""Reviews of films: what they say, found by vectors, and whether their authors liked the film.

This file holds definitions only: importing it reads nothing. `python demo.py` runs the whole path with them.
"""

from __future__ import annotations

import polars as pl

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
    """The moment at which the mood of a review is asked for."""
    return "select review, author, written_at, site, letters from read_parquet('data/asked.parquet')"


@project.source(timestamp="written_at", id="review")
def verdicts() -> str:
    """Whether the author liked the film; known an hour after the review."""
    return "select review, author, written_at, liked from read_parquet('data/verdicts.parquet')"


texts = project.embedding(
    "texts", source=written, entity=review, text="text", model="tfidf", dimension=64, fitted_at="2024-02-01"
)
"""Words are weighed as in the reviews of January: no weight knows a word of the later ones, by which models are judged."""


@project.feature_view(entity=author)
def habits(verdicts: tm.Rows) -> tm.Features:
    """How often the author liked a film before, and how many reviews that is."""
    return {"liked_before": verdicts["liked"].mean(window="90d"), "reviews_before": verdicts.count(window="90d")}


@project.on_demand
def form(site: pl.Expr, letters: pl.Expr) -> dict[str, pl.Expr]:
    """Where the review stands and how long it is."""
    return {"is_imdb": (site == "imdb").cast(pl.Int64), "length": letters * 1}


@project.feature_view(entity=review)
def meaning(written: tm.Rows) -> tm.Features:
    """The vector of the text."""
    return {"v": written["text"].last().embedded(texts)}


@project.feature_view(entity=review)
def verdict(verdicts: tm.Rows) -> tm.Features:
    """Whether the author of a review liked the film, once it is known."""
    return {"liked": verdicts["liked"].last()}


@project.nearest(texts, k=25)
def alike(verdict: tm.Rows) -> tm.Features:
    """How the authors of the 25 most similar reviews liked their films, as far as that was known."""
    return {"liked_alike": verdict["liked"].mean(), "alike_known": verdict["liked"].count()}


@project.label(entity=review, horizon="2h")
def liked(verdicts: tm.Rows) -> tm.Label:
    """Whether the author liked the film."""
    return verdicts["liked"].last()


plain = project.training_set("plain", spine=asked, label=liked, features=[habits, form])
with_texts = project.training_set("with_texts", spine=asked, label=liked, features=[habits, form, meaning, alike])
