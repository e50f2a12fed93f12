"""Answered predictions, and what really happened."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from tinymlops.records.record import Record

__all__ = ["Outcome", "Prediction"]


class Prediction(Record, frozen=True, kw_only=True):
    """One answered prediction, with the features it was made from."""

    table: ClassVar[str] = "predictions"
    key: ClassVar[tuple[str, ...]] = ("id",)
    sql_name: ClassVar[str | None] = "predictions"
    subjects: ClassVar[tuple[str, ...]] = ("request", "features")

    id: str
    model: str
    version: int
    at: datetime
    """The prediction time `t` of its features."""
    sequence: int | None
    """`Q` of the online store; null where full feature rows were sent."""
    request: dict[str, Any]
    features: dict[str, Any]
    output: dict[str, Any]


class Outcome(Record, frozen=True, kw_only=True):
    """What really happened, for one prediction."""

    table: ClassVar[str] = "outcomes"
    key: ClassVar[tuple[str, ...]] = ("prediction_id",)
    sql_name: ClassVar[str | None] = "outcomes"

    prediction_id: str
    value: float | str | None
    at: datetime
    origin: str
    """`logged` by a user or `label` computed from the label's source."""
