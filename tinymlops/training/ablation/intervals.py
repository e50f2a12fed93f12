"""The mean of paired differences, with an interval by Student's t."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import msgspec

__all__ = ["Difference", "difference", "places"]

_MOST_PLACES = 12


class Difference(msgspec.Struct, frozen=True):
    """A mean difference between two models that were tested on the same folds."""

    mean: float
    low: float | None
    """The lower end of the interval; None for one fold, or where all folds differ by the same."""
    high: float | None
    folds: int
    level: float = 0.95

    def __repr__(self) -> str:
        if self.low is None or self.high is None:
            return f"<difference {self.mean:+.4g}, no interval of {_folds(self.folds)}>"
        return f"<difference {self.mean:+.4g} [{self.low:+.4g}, {self.high:+.4g}] over {_folds(self.folds)}>"

    @property
    def ends(self) -> tuple[float, float | None, float | None]:
        """The mean and both ends of the interval."""
        return self.mean, self.low, self.high

    @property
    def is_clear(self) -> bool | None:
        """Whether the interval leaves out zero; None without an interval."""
        return None if self.low is None or self.high is None else self.low > 0 or self.high < 0


def difference(values: Sequence[float], *, level: float = 0.95) -> Difference | None:
    """Return the mean of paired differences with its interval: `mean ± t(n - 1) * s / sqrt(n)`.

    Folds share training rows, so that the differences are not independent and the interval is rather too narrow.

    Args:
        values: One difference a fold, each finite.
        level: How much the interval covers.

    Returns:
        None if there is no value. There is no interval for one value, or if all are equal: none can be told of them.

    Example:
        >>> difference([0.1, 0.2, 0.3])
        <difference +0.2 [-0.04841, +0.4484] over 3 folds>
        >>> difference([0.0, 0.0])
        <difference +0, no interval of 2 folds>
    """
    if not values:
        return None
    count = len(values)
    mean = math.fsum(values) / count
    if count == 1 or min(values) == max(values):
        return Difference(mean, None, None, count, level)
    from scipy.special import stdtrit

    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1) / count)
    half = float(stdtrit(count - 1, (1 + level) / 2)) * spread
    return Difference(mean, mean - half, mean + half, count, level)


def places(numbers: Iterable[float | None]) -> int:
    """Return how many decimal places show four digits of the greatest of some numbers.

    Example:
        >>> places([0.01234567, None, -0.002]), places([-1e7])
        (5, 0)
    """
    sizes = [abs(number) for number in numbers if number]
    return min(max(3 - math.floor(math.log10(max(sizes))), 0), _MOST_PLACES) if sizes else 0


def _folds(count: int) -> str:
    return f"{count} fold{'s' if count != 1 else ''}"
