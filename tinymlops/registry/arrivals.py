"""How long after their events rows come: counted by day when they are stored, so that reading it looks at no row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinymlops.records import ArrivalLag

if TYPE_CHECKING:
    from tinymlops.stores.database import Database
    from tinymlops.stores.transaction import Transaction

__all__ = ["Arrivals", "Lags", "arrivals_of", "note_arrivals"]

Lags = Sequence[int] | NDArray[np.int64]
_DAY = 86_400_000_000
_STEPS = 8
"""Spans until a lag has doubled: each ends 9 % later than the one before."""
_COMPARED = 7
"""Days with rows that a reading looks at."""
_KEPT = 30
"""Days with rows that are kept."""


class Arrivals(NamedTuple):
    """How long after their events rows came, microseconds, at most a tenth too long."""

    rows: int
    p50: int
    p95: int


def note_arrivals(tx: Transaction, place: str, lags: Lags, at: int) -> None:
    """Count the lags of rows in the transaction that stores them.

    Args:
        tx: The transaction.
        place: The name that the rows are stored under.
        lags: int64[n], microseconds from the event until the row came; not of corrections, which come late by their nature.
        at: The commit's clock, microseconds UTC.
    """
    if not len(lags):
        return
    spans, counts = np.unique(_spans(np.asarray(lags, dtype=np.int64)), return_counts=True)
    known = tx.get(ArrivalLag, source=place, day=at // _DAY)
    total = Counter({} if known is None else known.counts)
    total.update(dict(zip(map(str, spans.tolist()), counts.tolist(), strict=True)))
    tx.put(ArrivalLag(source=place, day=at // _DAY, counts=dict(total)))
    if known is None:
        newest = f"SELECT day FROM {ArrivalLag.table} WHERE source = ?1 ORDER BY day DESC LIMIT {_KEPT}"
        tx.execute(f"DELETE FROM {ArrivalLag.table} WHERE source = ?1 AND day NOT IN ({newest})", (place,))


def arrivals_of(database: Database, place: str) -> Arrivals | None:
    """Return how long after their events the rows of the last days came; None if none were counted."""
    days = database.select(ArrivalLag, f"WHERE source = ? ORDER BY day DESC LIMIT {_COMPARED}", (place,))
    total = Counter[str]()
    for one in days:
        total.update(one.counts)
    if not total:
        return None
    spans = np.array(sorted((int(span), count) for span, count in total.items()))
    until = spans[:, 1].cumsum()
    p50, p95 = (int(spans[np.searchsorted(until, share * until[-1]), 0]) for share in (0.5, 0.95))
    return Arrivals(int(until[-1]), _end(p50), _end(p95))


def _spans(lags: NDArray[np.int64]) -> NDArray[np.int64]:
    late = np.maximum(lags, 1).astype(np.float64)
    return np.where(lags > 0, 1 + np.floor(np.log2(late) * _STEPS), 0).astype(np.int64)


def _end(span: int) -> int:
    """Return the greatest lag of a span."""
    return round(2 ** (span / _STEPS)) if span else 0
