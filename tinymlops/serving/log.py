"""The log of predictions: a buffer, durable within half a second, so that no answer waits for the disk."""

from __future__ import annotations

import secrets
import time
from functools import partial
from typing import TYPE_CHECKING

from tinymlops.records import Prediction
from tinymlops.registry.predictions import log_predictions
from tinymlops.stores.buffer import Buffer

if TYPE_CHECKING:
    from tinymlops.stores.database import Database

__all__ = ["PredictionLog", "identifiers", "prediction_log"]

PredictionLog = Buffer[Prediction]


def prediction_log(database: Database) -> PredictionLog:
    """Return the log of a workspace's predictions; the caller must close it."""
    return Buffer(database.path.parent, partial(log_predictions, database), "predictions", "the prediction log")


def identifiers(count: int) -> list[str]:
    """Make ids that sort by time and, within one answer, by row: inserts then touch one end of the table's index."""
    milliseconds = time.time_ns() // 1_000_000
    return [f"{milliseconds:012x}{row:05x}{secrets.token_hex(8)[:15]}" for row in range(count)]
