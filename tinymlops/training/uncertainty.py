"""How sure a comparison of runs is: intervals of means, paired tests, and the luck in the best of many.

Each function names the source of its formula. A value that is NaN, such as the loss of a run that diverged, is no number to
average: callers leave such values out and say how many.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

__all__ = [
    "Luck",
    "Mean",
    "Paired",
    "expected_maximum",
    "luck_of_best",
    "mean_of",
    "paired_bootstrap",
    "paired_t",
    "pooled_sd",
]

_LEVEL = 0.95
_DRAWS = 4_000
_CELLS = 4_000_000
"""Draws times rows that are held at once: 32 MB."""
_TAIL = 9.0
"""Standard deviations beyond which a normal density is nothing at all: 1e-19."""


class Mean(msgspec.Struct, frozen=True):
    """The mean of some values with its interval."""

    n: int
    """How many values."""
    mean: float | None
    sd: float | None
    """Of the values, with n - 1 in the denominator; None for less than two."""
    low: float | None
    """The lower end of the interval; None for less than two values, which give none."""
    high: float | None
    left_out: int = 0
    """Values that are NaN."""
    level: float = _LEVEL


class Paired(msgspec.Struct, frozen=True):
    """What the differences of pairs say: the second one less the first one."""

    n: int
    """How many pairs."""
    mean: float | None
    low: float | None
    high: float | None
    p: float | None
    """How likely a mean this far from zero is if there is no difference, two-sided; None if it cannot be said."""
    how: str
    """`t` or `bootstrap`."""
    level: float = _LEVEL
    unmatched: int = 0
    """Values without a partner, which are left out."""

    @property
    def differs(self) -> bool | None:
        """Whether the interval leaves zero out; None if there is no interval."""
        return None if self.low is None or self.high is None else not self.low <= 0.0 <= self.high


class Luck(msgspec.Struct, frozen=True):
    """The best of several, and how much of its lead is to be expected from noise alone."""

    n: int
    """How many it was picked from."""
    best: float
    runner_up: float | None
    lead: float | None
    """How much better the best is than the second."""
    noise: float | None
    """The standard deviation of one value without any real difference; None if it is not known."""
    expected: float | None
    """How far the best of n values lies above their mean by noise alone."""

    @property
    def within_noise(self) -> bool | None:
        """Whether the lead is no more than what luck alone gives the best; None if the noise is not known."""
        return None if self.expected is None or self.lead is None else self.lead <= self.expected


def mean_of(values: Sequence[float | None], *, level: float = _LEVEL) -> Mean:
    """Return the mean of values and its interval: mean ± t(1 - (1 - level) / 2; n - 1) * sd / sqrt(n).

    Source: Student, The probable error of a mean, Biometrika 6 (1908); NIST/SEMATECH e-Handbook of Statistical Methods,
    1.3.5.2, Confidence limits for the mean. It holds for independent values that are about normal; folds of one set of rows
    are not independent, and their interval is too narrow.

    Args:
        values: One of each run; None and NaN are left out, and NaN is counted.
        level: How often such an interval holds the true mean.

    Example:
        >>> mean_of([0.25, 0.5, 0.75]).mean
        0.5
    """
    known = np.array([value for value in values if value is not None], np.float64)
    numbers = known[~np.isnan(known)]
    left_out = len(known) - len(numbers)
    if not len(numbers):
        return Mean(0, None, None, None, None, left_out, level)
    mean = _mean(numbers)
    if len(numbers) < 2 or not np.isfinite(numbers).all():
        return Mean(len(numbers), mean, None, None, None, left_out, level)
    sd = float(numbers.std(ddof=1))
    half = _t_quantile(level, len(numbers) - 1) * sd / math.sqrt(len(numbers))
    return Mean(len(numbers), mean, sd, mean - half, mean + half, left_out, level)


def paired_t(differences: Sequence[float], *, overlap: float = 0.0, level: float = _LEVEL) -> Paired:
    """Test whether paired differences have the mean zero: t = mean / (sd * sqrt(1 / n + overlap)), n - 1 degrees of freedom.

    Source: Student (1908) for independent pairs, such as seeds. Folds of one set of rows share rows to fit on; then the
    variance is too small, and `overlap`, the ratio of test to training rows of a fold, corrects it: Nadeau and Bengio,
    Inference for the generalization error, Machine Learning 52 (2003), equation 9.

    Args:
        differences: Of each pair.
        overlap: Rows of a test fold divided by the rows fitted on; zero for independent pairs.
        level: Of the interval.
    """
    values = np.array(differences, np.float64)
    count = len(values)
    mean = _mean(values) if count else None
    if mean is None or count < 2 or not np.isfinite(values).all():
        return Paired(count, mean, None, None, None, "t", level)
    error = float(values.std(ddof=1)) * math.sqrt(1 / count + overlap)
    half = _t_quantile(level, count - 1) * error
    if error == 0.0:
        return Paired(count, mean, mean, mean, 1.0 if mean == 0.0 else 0.0, "t", level)
    return Paired(count, mean, mean - half, mean + half, _two_sided(mean / error, count - 1), "t", level)


def paired_bootstrap(
    differences: Sequence[float] | npt.NDArray[np.float64], *, draws: int = _DRAWS, level: float = _LEVEL, seed: int = 0
) -> Paired:
    """Test whether differences of many rows have the mean zero, by drawing the rows again: the percentile interval.

    Source: Efron and Tibshirani, An introduction to the bootstrap (1993), chapter 13 (percentile interval) and section 16.4
    (test of a mean by the distribution around the observed one, with one draw added for the observed one). It needs no normal
    differences, but independent rows, and some tens of them.

    Args:
        differences: Of each row, such as of the losses of two models.
        draws: How often the rows are drawn with replacement.
        level: Of the interval.
        seed: Of the draws: the same one gives the same answer.
    """
    values = np.array(differences, np.float64)
    count = len(values)
    mean = _mean(values) if count else None
    if mean is None or count < 2 or not np.isfinite(values).all():
        return Paired(count, mean, None, None, None, "bootstrap", level)
    random = np.random.default_rng(seed)
    each = max(1, _CELLS // count)
    means = np.concatenate(
        [
            values[random.integers(0, count, (min(each, draws - done), count))].mean(axis=1)
            for done in range(0, draws, each)
        ]
    )
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    as_far = int((np.abs(means - mean) >= abs(mean)).sum())
    return Paired(count, mean, float(low), float(high), (as_far + 1) / (draws + 1), "bootstrap", level)


def expected_maximum(n: int) -> float:
    """Return the expected greatest of n independent standard normal values: the integral of x d(Phi(x)^n).

    Source: Tippett, On the extreme individuals and the range of samples taken from a normal population, Biometrika 17
    (1925). The values are those of Harter's tables (1961): 0.5642 for 2, 1.5388 for 10, 2.5076 for 100.

    Args:
        n: How many values.

    Example:
        >>> round(expected_maximum(10), 4)
        1.5388
    """
    from scipy.special import ndtr

    # By parts: the integral of 1 - Phi^n above zero, less that of Phi^n below.
    x = np.linspace(0.0, _TAIL, 9_001)
    return float(np.trapezoid(1 - ndtr(x) ** n - ndtr(-x) ** n, x))


def luck_of_best(values: Sequence[float], noise: float | None, *, goal: str) -> Luck:
    """Say how much of the lead of the best value is to be expected from noise alone: noise * expected_maximum(n).

    Source: `expected_maximum`; picking the best of many and reporting its value is the winner's curse, or selection bias:
    Cawley and Talbot, On over-fitting in model selection, JMLR 11 (2010).

    Args:
        values: At least one, without NaN.
        noise: The standard deviation of one value, such as that of a mean over seeds; None if it is not known.
        goal: `min` or `max`: which value is the best.
    """
    ordered = sorted(values, reverse=goal == "max")
    runner_up = ordered[1] if len(ordered) > 1 else None
    lead = None if runner_up is None else abs(ordered[0] - runner_up)
    expected = None if noise is None or len(ordered) < 2 else noise * expected_maximum(len(ordered))
    return Luck(len(ordered), ordered[0], runner_up, lead, noise, expected)


def pooled_sd(groups: Sequence[Sequence[float]]) -> float | None:
    """Return the standard deviation inside groups: sqrt(sum of (n_i - 1) * sd_i^2 / sum of (n_i - 1)).

    Source: NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.5.3 (two groups) and 7.4.2.3 (within-group mean square).

    Args:
        groups: Values of each group.

    Returns:
        None if no group has two values.
    """
    squares, freedom = 0.0, 0
    for values in groups:
        if len(values) > 1:
            squares += float(np.var(values, ddof=1)) * (len(values) - 1)
            freedom += len(values) - 1
    return math.sqrt(squares / freedom) if freedom else None


def _mean(values: Any) -> float:
    with np.errstate(invalid="ignore"):  # of both infinities: NaN
        return float(values.mean())


def _t_quantile(level: float, freedom: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + level) / 2))


def _two_sided(t: float, freedom: int) -> float:
    from scipy.special import stdtr

    return float(2 * stdtr(freedom, -abs(t)))
