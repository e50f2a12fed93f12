"""Compute features from aggregates: the same expression over the same numbers, offline and online."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from tinymlops.errors import DataError
from tinymlops.features.compute.evaluating import TooGreatError, Values, evaluate
from tinymlops.times import from_micros

if TYPE_CHECKING:
    from tinymlops.features.definitions.expressions import Aggregate

__all__ = ["combined"]

Array = np.ndarray[Any, Any]


def combined(name: str, feature: Aggregate, parts: Sequence[pl.Series], time: Array) -> Values:
    """Compute a feature from its parts.

    Args:
        name: The name of the feature, for errors.
        feature: The expression that combines the parts.
        parts: The values of the parts, m each.
        time: int64[m], the times of the rows.

    Returns:
        m values, null where the result is not finite.

    Raises:
        DataError: If the types of the parts cannot be combined, or an integer does not fit 64 bits.
    """
    assert feature.operand is not None, "what is combined has an expression"
    frame = pl.DataFrame([part.alias(str(place)) for place, part in enumerate(parts)])
    try:
        return evaluate(feature.operand, frame)
    except TooGreatError as error:
        row = int(error.args[0])
        raise DataError(
            f"feature {name!r}, {feature!r}, does not fit 64 bits at row {row}, time {from_micros(int(time[row])).isoformat()}",
            hint="make one side a float, for example by * 1.0",
        ) from error
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"feature {name!r}, {feature!r}, cannot be computed: {error}", hint="check the types of its aggregates"
        ) from error
