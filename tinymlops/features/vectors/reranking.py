"""The order that a function of the user's gives to what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from tinymlops.errors import DataError, TinyMLOpsError
from tinymlops.features.definitions.code import told

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["require_callable", "reranked"]


def require_callable(rerank: object) -> None:
    """Refuse what cannot be called.

    Raises:
        DataError: If it is something else than None and a function.
    """
    if rerank is not None and not callable(rerank):
        raise DataError(
            f"rerank={rerank!r} cannot be called", hint="pass a function of the query and a frame of rows to scores"
        )


def reranked(rows: pl.DataFrame, query: Any, rerank: Callable[[Any, pl.DataFrame], Any], root: Path) -> pl.DataFrame:
    """Return rows with the scores of a function; the order stays.

    Args:
        rows: What was found, with `score`.
        query: As it was given.
        rerank: Takes both and returns a number for each row.
        root: The project's directory: errors name lines of its code.

    Raises:
        DataError: If it fails, or what it returns is not a finite number for each row.
    """
    if not rows.height:
        return rows
    try:
        given = rerank(query, rows.clone())
    except TinyMLOpsError:
        raise
    # A panic of Polars is not an Exception, and would end the caller.
    except (Exception, pl.exceptions.PanicException) as error:
        raise DataError(f"rerank failed: {told(error, root)}", hint="its own error is the cause of this one") from error
    return rows.with_columns(pl.Series("score", _numbers(given, rows.height)))


def _numbers(given: Any, size: int) -> np.ndarray[Any, Any]:
    try:
        found = np.asarray(given)
        numbers = found.astype(np.float64) if found.dtype.kind in "fiu" else None
    except Exception:  # noqa: BLE001 - whatever an object of the user's raises, it is not numbers
        numbers = None
    if numbers is None or numbers.ndim != 1:
        raise DataError(
            f"rerank returned a {type(given).__name__} and not a number for each row", hint="return a list of numbers"
        )
    if numbers.size != size:
        raise DataError(
            f"rerank returned {numbers.size} scores for {size} rows", hint="return one for each row, in order"
        )
    if not np.isfinite(numbers).all():
        place = int(np.flatnonzero(~np.isfinite(numbers))[0])
        raise DataError(f"rerank returned {numbers[place]} for row {place}", hint="return finite numbers")
    return numbers
