"""Measure how far a column of the served rows has moved from the training rows, and how much of that is chance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from tinymlops.kernels.drift import bin_counts, cuts_of_values, expected_psi, psi

if TYPE_CHECKING:
    from tinymlops.training.baseline import Histogram

__all__ = ["Drift", "DriftCounter", "drifts_of"]

_WHOLE = 1e15
"""The whole part of a number below is written in full."""


class Drift(msgspec.Struct, frozen=True):
    """The drift of one column between training and now."""

    name: str
    rows: int
    """Served rows."""
    bins: int
    """The bins that have rows, now or in training."""
    null_rate: float | None
    """The share of nulls in the served rows; None without any."""
    training_null_rate: float
    psi: float | None
    """Population stability index; None without served rows."""
    noise: float | None
    """The index that this number of rows would show on average without any drift."""
    training: list[int] = []
    """Counts of the training rows by bin or category, the nulls last."""
    served: list[int] = []
    """Counts of the served rows by the same."""
    labels: list[str] = []
    """What the bins are, such as "to 2.5", and "null" last."""

    @property
    def excess(self) -> float:
        """The part of the index that chance does not explain; 0.0 or more."""
        return max(0.0, (self.psi or 0.0) - (self.noise or 0.0))

    @property
    def reading(self) -> str:
        """`shift` if the excess is 0.25 or more, `some` from 0.1 on, else empty: the usual limits, corrected for chance.

        With fewer than five rows per bin it is `few rows`: some bins are empty then, and the index means little.
        """
        if self.rows < 5 * self.bins:
            return "few rows"
        return "shift" if self.excess >= 0.25 else "some" if self.excess >= 0.1 else ""


class DriftCounter:
    """Counts a column's served values over the bins of its training histogram.

    Args:
        histogram: The histogram of the training rows.
    """

    def __init__(self, histogram: Histogram) -> None:
        self._edges = None if histogram.edges is None else np.array(histogram.edges, np.float64)
        self._places = {category: place for place, category in enumerate(histogram.categories or [])}
        counts = list(histogram.counts)
        self._labels = _labels(histogram)
        # The last bin counts nulls; a category that training did not have gets one before it.
        self._expected = np.array(counts if self._edges is not None else [*counts[:-1], 0, counts[-1]], np.int64)
        self._counts = np.zeros(len(self._expected), np.int64)

    def add(self, values: Sequence[Any]) -> None:
        """Count values from JSON: numbers, booleans, text and null."""
        if self._edges is not None:
            numbers = np.array([float("nan") if value is None else float(value) for value in values], np.float64)
            self._counts += bin_counts(numbers, self._edges)
        else:
            places = [self._place(value) for value in values]
            self._counts += np.bincount(places, minlength=len(self._counts))

    def drift(self, name: str) -> Drift:
        """Compare the counts with training."""
        rows, training_rows = int(self._counts.sum()), int(self._expected.sum())
        share = int(self._expected[-1]) / training_rows if training_rows else 0.0
        bins = int(((self._expected + self._counts) > 0).sum())
        if not rows or not training_rows:
            return Drift(name, rows, bins, None, share, None, None, self._expected.tolist(), [], self._labels)
        index, noise = psi(self._expected, self._counts), expected_psi(bins, training_rows, rows)
        nulls, counts = int(self._counts[-1]) / rows, (self._expected.tolist(), self._counts.tolist())
        return Drift(name, rows, bins, nulls, share, index, noise, *counts, self._labels)

    def _place(self, value: Any) -> int:
        if value is None:
            return len(self._counts) - 1
        text = str(value).lower() if isinstance(value, bool) else str(value)
        return self._places.get(text, len(self._counts) - 2)


def _labels(histogram: Histogram) -> list[str]:
    if histogram.edges is None:
        return [*(histogram.categories or []), "other", "null"]
    cuts = cuts_of_values(histogram.edges)
    if not cuts:
        return ["all", "null"]
    texts = _told_apart(cuts)
    between = [
        one if low == high else f"{one} to {two}"
        for (low, high), (one, two) in zip(pairwise(cuts), pairwise(texts), strict=True)
    ]
    last = "over" if cuts[-1:] == cuts[-2:-1] else "from"
    return [f"below {texts[0]}", *between, f"{last} {texts[-1]}", "null"]


def _told_apart(cuts: list[float]) -> list[str]:
    """Write numbers by four digits, or by as many as tell them apart; the whole part is never rounded."""
    texts = list[str]()
    for digits in range(4, 18):
        texts = [f"{cut:.{max(digits, len(f'{abs(cut):.0f}')) if abs(cut) < _WHOLE else digits}g}" for cut in cuts]
        if len(set(texts)) == len(set(cuts)):
            break
    return texts


def drifts_of(counters: Iterable[tuple[str, DriftCounter]]) -> list[Drift]:
    """Return the drifts, the largest unexplained one first."""
    found = [counter.drift(name) for name, counter in counters]
    return sorted(found, key=lambda drift: (-drift.excess, drift.name))
