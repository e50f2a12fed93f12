"""The log of predictions: a buffer, durable within half a second, so that no answer waits for the disk."""

from __future__ import annotations

import re
import secrets
import time
from functools import partial
from typing import TYPE_CHECKING

from tinymlops.errors import DataError
from tinymlops.records import Prediction
from tinymlops.registry.predictions import log_predictions
from tinymlops.stores.buffer import Buffer

if TYPE_CHECKING:
    from tinymlops.stores.database import Database

__all__ = ["PredictionLog", "identifiers", "prediction_log"]

PredictionLog = Buffer[Prediction]
_REQUEST = re.compile(r"[0-9a-f]{27}")


def prediction_log(database: Database) -> PredictionLog:
    """Return the log of a workspace's predictions; the caller must close it."""
    return Buffer(database.path.parent, partial(log_predictions, database), "predictions", "the prediction log")


def identifiers(count: int, request_id: str | None = None) -> list[str]:
    """Make ids that sort by time and, within one answer, by row: inserts then touch one end of the table's index.

    Args:
        count: How many.
        request_id: The client's id of the request, 27 hexadecimal digits that begin with the milliseconds: the same id
            makes the same ids again.

    Raises:
        DataError: If it is not that.
    """
    if request_id is not None:
        if not _REQUEST.fullmatch(request_id):
            raise DataError(
                f"request_id={request_id[:100]!r} is not one", hint="use 27 digits of 0-9 and a-f, time first"
            )
        return [f"{request_id[:12]}{row:05x}{request_id[12:]}" for row in range(count)]
    milliseconds = time.time_ns() // 1_000_000
    return [f"{milliseconds:012x}{row:05x}{secrets.token_hex(8)[:15]}" for row in range(count)]
