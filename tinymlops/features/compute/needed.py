"""Find the rows that a later read can still need: those that the online store keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tinymlops.kernels import asof

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tinymlops.features.compute.arranged import Array
    from tinymlops.features.definitions.expressions import Aggregate
    from tinymlops.kernels.records import Records

__all__ = ["kept_rows"]


def kept_rows(
    records: Records,
    features: Iterable[Aggregate],
    keep_of: Callable[[Aggregate], Array | None],
    now: int,
    *,
    ttl: int | None,
) -> Array:
    """Return which arranged rows a read at `now` or later can use.

    Args:
        records: The rows of every key of interest.
        features: The expressions to be read.
        keep_of: Returns bool[n], the rows that an expression may use; None for all.
        now: Microseconds UTC; no read is earlier.
        ttl: Greatest age of a value without a window.

    Returns:
        bool[n]: rows not yet available, of a window that is still open, or the winner of an expression now; the
        last delete, for an expression that starts over after it; and all rows of a key whose availability is not in
        order of its events.
    """
    keys = np.arange(len(records.offsets) - 1, dtype=np.int64)
    none = np.zeros(records.event.size, np.bool_)
    whole = np.repeat(~records.monotone, np.diff(records.offsets))
    keep: Array = whole | (records.visible_from > now)
    moment = np.full(len(keys), now, np.int64)
    for feature in features:
        span = feature.window if feature.window is not None else ttl if feature.function == "first" else None
        if span is not None:
            keep |= records.event >= now - span
        if feature.window is None:
            for strict in (False, True):  # a shared source is read strictly before the time
                oldest, kept = feature.function == "first", keep_of(feature)
                winner = asof.latest(records, keys, moment, strict=strict, keep=kept, oldest=oldest)
                keep[winner[winner >= 0]] = True
                if oldest:  # a row before a delete is not the first, however late it arrives
                    delete = asof.latest(records, keys, moment, strict=strict, keep=none)
                    keep[delete[delete >= 0]] = True
    return keep
