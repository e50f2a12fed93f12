"""How far a distribution has moved: the population stability index over bins of a baseline."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["bin_counts", "bin_edges", "cuts_of_values", "expected_psi", "psi"]

Array = np.ndarray[Any, Any]

_EMPTY_SHARE = 1e-4
"""The share that an empty bin counts as."""
_AROUND = 2.0**-44
"""How far the bin of one value reaches, as a part of it: a model's answers for one row and for many differ in their last bits."""
_LEAST = 5e-324


def bin_edges(values: Array, bins: int = 10) -> Array:
    """Cut a baseline into bins of about equal counts; a value that so many rows have gets a bin of its own.

    So no bin hides that such a value is gone, wherever it lies among the others: a flag that nearly all rows have, or
    the zeros between debts and credits.

    Args:
        values: float64[n], NaN for null.
        bins: How many bins to aim for; values that repeat give fewer, and some that hold no row.

    Returns:
        float64[k], strictly increasing, the cuts between bins: bin i holds `edges[i-1] <= value < edges[i]`,
        the first and the last bin are open. Without values there are no cuts.

    Example:
        >>> bin_edges(np.arange(1.0, 9.0), bins=4).tolist()
        [2.75, 4.5, 6.25]
    """
    known = np.asarray(values, np.float64)
    known = known[~np.isnan(known)]
    if not known.size:
        return np.empty(0, np.float64)
    found, counts = np.unique(known, return_counts=True)
    own = found[counts * bins >= known.size]
    others = known[~np.isin(known, own)]
    parts = round(bins * others.size / known.size)
    around = np.maximum(np.abs(own) * _AROUND, _LEAST)
    with np.errstate(over="ignore", invalid="ignore"):
        cuts = np.quantile(others, np.arange(1, parts) / parts) if parts > 1 else others[:0]
        low, high = own - around, own + around
        cuts = cuts[~((cuts[:, None] >= low) & (cuts[:, None] < high)).any(axis=1)]
        edges: Array = np.unique(np.concatenate([cuts, low, high]))
    finite: Array = edges[np.isfinite(edges)]
    return finite


def cuts_of_values(edges: Sequence[float]) -> list[float]:
    """Return cuts as people read them: both cuts of the bin of one value are that value.

    Args:
        edges: From `bin_edges`, of this version or of an earlier one.

    Example:
        >>> cuts_of_values(bin_edges(np.array([0.0] * 9 + [1.0])).tolist())
        [0.0, 0.0, 1.0, 1.0]
    """
    cuts = list(edges)
    for place, (low, high) in enumerate(pairwise(edges)):
        if high - low <= max(3 * _AROUND * abs(high), 3 * _LEAST):
            cuts[place : place + 2] = [float(f"{low / 2 + high / 2:.12g}")] * 2
    return cuts


def bin_counts(values: Array, edges: Array) -> Array:
    """Count values per bin.

    Args:
        values: float64[n], NaN for null.
        edges: float64[k] from `bin_edges`.

    Returns:
        int64[k+2]: the k+1 bins from low to high, then the nulls.

    Example:
        >>> bin_counts(np.array([0.0, 1.0, 5.0, np.nan]), np.array([1.0])).tolist()
        [1, 2, 1]
    """
    values = np.asarray(values, np.float64)
    null = np.isnan(values)
    places = np.searchsorted(edges, values[~null], side="right")
    return np.append(np.bincount(places, minlength=len(edges) + 1), null.sum()).astype(np.int64)


def psi(expected_counts: Array, actual_counts: Array) -> float:
    """Compute the population stability index of two histograms over the same bins.

    It is the sum over bins of `(actual - expected) * ln(actual / expected)` of the shares (Siddiqi, "Credit Risk
    Scorecards", 2006; the symmetric divergence of Kullback and Leibler, 1951). An empty bin's share counts as 0.0001
    and the others are left as they are, as in Evidently. Below 0.1 is read as stable, above 0.25 as a shift.

    Args:
        expected_counts: float64[k], the baseline's counts.
        actual_counts: float64[k], the counts to compare.

    Returns:
        0.0 or more; NaN where either histogram is empty.

    Example:
        >>> psi(np.array([50, 50]), np.array([50, 50]))
        0.0
        >>> round(psi(np.array([50, 50]), np.array([80, 20])), 3)
        0.416
    """
    expected, actual = np.asarray(expected_counts, np.float64), np.asarray(actual_counts, np.float64)
    if not expected.sum() or not actual.sum():
        return float("nan")
    expected, actual = _shares(expected), _shares(actual)
    return float(np.sum((actual - expected) * np.log(actual / expected)))


def expected_psi(bins: int, training_rows: int, rows: int) -> float:
    """Return the population stability index that sampling alone gives on average.

    Without drift the index divided by `1/n + 1/m` follows a chi-square distribution with `bins - 1` degrees of
    freedom (Yurdakul, "Statistical Properties of Population Stability Index", 2018); this is its mean. With so few rows
    that bins stay empty, the index is greater.

    Args:
        bins: How many bins have rows in either sample.
        training_rows: n.
        rows: m.

    Example:
        >>> round(expected_psi(10, 100_000, 100), 3)
        0.09
    """
    return (bins - 1) * (1 / training_rows + 1 / rows)


def _shares(counts: Array) -> Array:
    """Return each bin's share; a bin that is empty on both sides gets equal shares, and so adds nothing."""
    shares = counts / counts.sum()
    return np.where(shares == 0, _EMPTY_SHARE, shares)
