"""Whether the values of a batch are distributed as those that were known some time ago."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from tinymlops.features.definitions import graph
from tinymlops.features.definitions.specs import SourceSpec
from tinymlops.features.history.stored import state_of, stored_rows
from tinymlops.kernels.drift import bin_counts, bin_edges, expected_psi, psi

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.features.definitions.rules import SameDistribution

__all__ = ["Compared", "compared", "known_then"]

_LIMIT = 0.25
"""Of the index, less what chance gives: from here on it is read as a shift."""
_MOST_BINS = 50
"""Values that have a bin of their own; the others share one."""


class Compared(NamedTuple):
    """What a comparison of two samples says."""

    passed: bool | None
    """None where it says nothing."""
    detail: str


def compared(now: pl.Series, then: pl.Series) -> Compared:
    """Compare two samples of one column by the population stability index over bins of the earlier one.

    Numbers and times are cut into bins of about a tenth of the rows (`bin_edges`), other values are counted one by one; nulls
    have a bin.

    Args:
        now: Of any length.
        then: Of the same kind.
    """
    if not len(then):
        return Compared(None, "nothing was known then")
    if not len(now):
        return Compared(None, "there are no new rows")
    before, after = _counts(then, now)
    bins = int(((before + after) > 0).sum())
    if min(len(now), len(then)) < 5 * bins:
        return Compared(None, f"few rows: {len(now):,} beside {len(then):,} in {bins} bins")
    index, noise = psi(before, after), expected_psi(bins, len(then), len(now))
    return Compared(index - noise < _LIMIT, f"PSI {index:.3g}, of which chance gives {noise:.2g}")


def known_then(context: Context, target: str, rule: SameDistribution) -> pl.Series:
    """Return the values of a source's column that were known some time ago, by the workspace's clock.

    A row was known then if its event time and, where it has one, its created time were past.
    """
    moment = context.now() - rule.as_of
    source = graph.origin(context.definitions, context.definitions.get(SourceSpec, target))
    if source.via != "push" and state_of(context, source.name) is None:
        return pl.Series(rule.column, [], dtype=pl.Null)
    rows = stored_rows(context, target, None if source.name != target else [rule.column])
    past = (pl.col("__event") <= moment) & (pl.col("__created").fill_null(moment) <= moment) & ~pl.col("__deleted")
    return rows.filter(past)[rule.column] if rule.column in rows.columns else pl.Series(rule.column, [], dtype=pl.Null)


def _counts(then: pl.Series, now: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    if then.dtype.is_numeric() or then.dtype.is_temporal():
        numbers = [_as_floats(one) for one in (then, now)]
        edges = bin_edges(numbers[0])
        return bin_counts(numbers[0], edges), bin_counts(numbers[1], edges)
    words = then.cast(pl.String).drop_nulls().alias("value").value_counts(sort=True).head(_MOST_BINS)["value"].to_list()
    return _words(then, words), _words(now, words)


def _as_floats(values: pl.Series) -> np.ndarray:
    plain = values.to_physical() if values.dtype.is_temporal() else values
    return plain.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _words(values: pl.Series, words: list[str]) -> np.ndarray:
    """Count each of some words, then all others, then nulls."""
    places = {word: place for place, word in enumerate(words)}
    text = values.cast(pl.String).drop_nulls()
    found = (
        text.replace_strict(places, default=len(words), return_dtype=pl.Int64)
        if len(text)
        else pl.Series([], dtype=pl.Int64)
    )
    return np.append(np.bincount(found.to_numpy(), minlength=len(words) + 1), values.null_count())
