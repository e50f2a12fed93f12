"""A model that is in use, for `benchmarks/pages.py`: rows, builds, versions, predictions, a kept report, and texts to search."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import tinymlops as tm
from tinymlops.records import Outcome, Prediction
from tinymlops.registry.predictions import log_predictions
from tinymlops.times import system_clock

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PREDICTED", "add_model", "add_predictions", "add_report", "add_texts"]

PREDICTED = f"{0:032x}"
"""The id of the first prediction."""
_BATCH, _BUYERS, _PUSHED = 20_000, 50, 5_000
_WORDS = (
    "late early broken gift refund parcel blue red large small cheap friendly cold warm again never box letter "
    "neighbour morning evening lost found"
)

_BEGUN = system_clock() - timedelta(days=60)
_MADE: dict[str, Any] = {"numbers": range(1), "of": 1}
"""The orders and visits that there are so far, and how many there will be."""

project = tm.Project("buyers")
buyer = project.entity("buyer", key="buyer")
note = project.entity("note", key="note")


@project.source(timestamp="at", id="order")
def orders() -> pl.DataFrame:
    """What buyers pay."""
    return _frame(np.array(_MADE["numbers"]), "order", _MADE["of"]).with_columns(
        amount=pl.col("order") * 7_919 % 97 * 1.0
    )


@project.source(timestamp="at", id="visit")
def visits() -> pl.DataFrame:
    """When a buyer comes."""
    return _frame(np.array(_MADE["numbers"]), "visit", _MADE["of"])


@project.source(timestamp="at", id="note")
def notes() -> tm.Schema:
    """What buyers write."""
    return {"note": int, "buyer": int, "at": datetime, "text": str}


@project.feature_view(entity=buyer)
def spending(orders: tm.Rows) -> tm.Features:
    """What a buyer has spent."""
    amount = orders["amount"]
    return {"last": amount.last(), "spent_7d": amount.sum(window="7d"), "large_30d": (amount > 50).mean(window="30d")}


@project.label(entity=buyer, horizon="1d")
def spends(orders: tm.Rows) -> tm.Label:
    """Whether a large order follows within a day."""
    return (orders["amount"] > 50).last()


visits_to_orders = project.training_set("visits_to_orders", spine=visits, label=spends, features=[spending])
words = project.embedding("words", source=notes, entity=note, text="text", model="tfidf", dimension=64)


def add_model(ws: tm.Workspace, sizes: Any) -> None:
    """Rows, two builds of a training set, and two versions of a model made from them."""
    ws.apply(project, message="as a benchmark needs them")
    for part in range(2):
        _MADE.update({"numbers": range(0, sizes.rows, 2 - part), "of": sizes.rows})
        ws.ingest("orders", "visits")
        data = ws.get_training_data(visits_to_orders, test_from=system_clock() - timedelta(days=10))
        with ws.start_run(f"linear {part}", data=data) as run:
            model = make_pipeline(SimpleImputer(), LogisticRegression())
            run.log_model(model.fit(data.train.X, data.train.y))
        ws.register_model("delay", run=run, alias="challenger" if part else "champion")
    ws.materialize()


def add_predictions(ws: tm.Workspace, sizes: Any) -> None:
    """Predictions of the champion, a second apart."""
    database, now = ws._environment.database, system_clock()  # noqa: SLF001 - rows as a server leaves them
    sequence = database.sequence()

    def made(start: int) -> Iterator[Prediction]:
        for number in range(start, min(start + _BATCH, sizes.predictions)):
            yield Prediction(
                id=f"{number:032x}",
                model="delay",
                version=1,
                at=now - timedelta(seconds=sizes.predictions - number),
                sequence=sequence,
                request={"buyer": number % _BUYERS},
                features={"last": float(number % 97), "spent_7d": float(number % 203), "large_30d": number % 11 / 10},
                output={"prediction": number % 13 == 0, "probability": number % 13 / 13},
            )

    for start in range(0, sizes.predictions, _BATCH):
        log_predictions(database, made(start))


def add_report(ws: tm.Workspace, sizes: Any) -> None:
    """Outcomes of nine predictions of ten, and the report on all of them."""
    database, now = ws._environment.database, system_clock()  # noqa: SLF001 - rows as `log_outcomes` leaves them
    for start in range(0, sizes.predictions, _BATCH):
        numbers = range(start, min(start + _BATCH, sizes.predictions))
        with database.write(actor=None) as tx:
            tx.put_many(
                Outcome(prediction_id=f"{number:032x}", value=float(number % 7 == 0), at=now, origin="logged")
                for number in numbers
                if number % 10
            )
    ws.monitor("delay", keep=True)


def add_texts(ws: tm.Workspace, sizes: Any) -> None:
    """Texts, and their vectors."""
    chance, vocabulary = np.random.default_rng(3), np.array(_WORDS.split())
    for start in range(0, sizes.texts, _PUSHED):
        numbers = np.arange(start, min(start + _PUSHED, sizes.texts))
        texts = [" ".join(vocabulary[chance.integers(0, vocabulary.size, 12)]) for _ in numbers]
        ws.push("notes", _frame(numbers, "note", sizes.texts).with_columns(text=pl.Series(texts)))
    ws.vectors.follow()


def _frame(numbers: Any, key: str, count: int) -> pl.DataFrame:
    """Return rows of buyers in turn, spread over the last sixty days."""
    times = [_BEGUN + timedelta(days=60) * (int(number) / count) for number in numbers]
    return pl.DataFrame({key: numbers, "buyer": numbers % _BUYERS, "at": times})
