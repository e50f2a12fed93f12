"""Frames of one size out of frames of any."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["in_batches"]


def in_batches(frames: Iterable[pl.DataFrame], size: int) -> Iterator[pl.DataFrame]:
    """Put frames together and apart, so that each has so many rows and the last what is left; at least one comes.

    Example:
        >>> frames = [pl.DataFrame({"a": [1, 2, 3]}), pl.DataFrame({"a": [4]})]
        >>> [batch["a"].to_list() for batch in in_batches(frames, 2)]
        [[1, 2], [3, 4]]
    """
    left: list[pl.DataFrame] = []
    given = False
    for frame in frames:
        together = pl.concat([*left, frame]) if left else frame
        whole = together.height - together.height % size
        for start in range(0, whole, size):
            given = True
            yield together.slice(start, size)
        rest = together.slice(whole)
        left = [rest] if rest.height or not given else []
    if left and (left[0].height or not given):
        yield left[0]
