"""The aggregates that an operand can be reduced to, over the rows of a key that are visible at `t`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from tinymlops.errors import DefinitionError

if TYPE_CHECKING:
    from datetime import timedelta

__all__ = ["Function", "Reductions"]

Condition = TypeVar("Condition")
R = TypeVar("R")
Function = Literal[
    "count",
    "sum",
    "mean",
    "min",
    "max",
    "var",
    "std",
    "first",
    "last",
    "n_unique",
    "quantile",
    "any",
    "all",
    "time_since_last",
]


class Reductions(Generic[Condition, R]):
    """The aggregates of an operand; each returns an `R`, for rows that meet a `Condition`."""

    __slots__ = ()

    def _reduce(
        self,
        function: Function,
        window: str | timedelta | None,
        where: Condition | None,
        *,
        skip_nulls: bool = False,
        q: float | None = None,
    ) -> R:
        raise NotImplementedError

    def last(
        self,
        *,
        window: str | timedelta | None = None,
        where: Condition | None = None,
        skip_nulls: bool = False,
    ) -> R:
        """Take the newest visible row's value, of any type.

        Args:
            window: Only rows with `t - window <= event time < t`; without it, any earlier row within the ttl.
            where: Only rows for which this holds.
            skip_nulls: Take the newest row that has a value, instead of the newest row's null.

        Returns:
            The feature, of the operand's dtype; null when there is no such row.

        Raises:
            DefinitionError: If the window is not a duration, or the condition is not an expression over rows.

        Example:
            >>> from tinymlops import Rows
            >>> Rows()["balance"].last(skip_nulls=True)
            <last of balance>
        """
        return self._reduce("last", window, where, skip_nulls=skip_nulls)

    def first(
        self,
        *,
        window: str | timedelta | None = None,
        where: Condition | None = None,
        skip_nulls: bool = False,
    ) -> R:
        """Take the oldest visible row's value; arguments, result and errors are those of `last`.

        Example:
            >>> from tinymlops import Rows
            >>> Rows()["page"].first(window="30m")
            <first of page over 30m>
        """
        return self._reduce("first", window, where, skip_nulls=skip_nulls)

    def count(self, *, window: str | timedelta | None = None, where: Condition | None = None) -> R:
        """Count the rows of the window that have a value.

        Args:
            window: Rows with `t - window <= event time < t`, such as "7d". Only a label has none: its horizon is
                its window.
            where: Only rows for which this holds.

        Returns:
            The feature, Int64; 0 when there is no such row.

        Raises:
            DefinitionError: If the window is not a duration, or the condition is not an expression over rows.

        Example:
            >>> from tinymlops import Rows
            >>> rows = Rows()
            >>> rows["coupon"].count(window="30d", where=rows["amount"] > 100)
            <count of coupon where amount > 100 over 30d>
        """
        return self._reduce("count", window, where)

    def sum(self, *, window: str | timedelta | None = None, where: Condition | None = None) -> R:
        """Add up the window's values; arguments and errors are those of `count`.

        Returns:
            The feature: Int64 and exact for integers and booleans, Float64 and the correctly rounded exact sum
            (what `math.fsum` gives) for floats; 0 when there is no value.

        Example:
            >>> from tinymlops import Rows
            >>> Rows()["amount"].sum(window="30d")
            <sum of amount over 30d>
        """
        return self._reduce("sum", window, where)

    def mean(self, *, window: str | timedelta | None = None, where: Condition | None = None) -> R:
        """Divide the window's exact sum by the count of its values; arguments and errors are those of `count`.

        Returns:
            The feature, Float64; null when there is no value. The mean of a condition is the share it holds for.

        Example:
            >>> from tinymlops import Rows
            >>> (Rows()["delay"] > 15).mean(window="7d")
            <mean of delay > 15 over 7d>
        """
        return self._reduce("mean", window, where)

    def min(self, *, window: str | timedelta | None = None, where: Condition | None = None) -> R:
        """Take the window's smallest value; arguments and errors are those of `count`.

        Returns:
            The feature, Int64 for integers and booleans and Float64 for floats; null when there is no value.
        """
        return self._reduce("min", window, where)

    def max(self, *, window: str | timedelta | None = None, where: Condition | None = None) -> R:
        """Take the window's greatest value; arguments and errors are those of `count`, the result is like that of `min`."""
        return self._reduce("max", window, where)

    def var(self, *, window: str | timedelta | None = None, where: Condition | None = None) -> R:
        """Take the window's sample variance (ddof=1); arguments and errors are those of `count`.

        Returns:
            The feature, Float64, exact until it is rounded once; null below two values.
        """
        return self._reduce("var", window, where)

    def std(self, *, window: str | timedelta | None = None, where: Condition | None = None) -> R:
        """Take the window's sample standard deviation (ddof=1); arguments and errors are those of `count`.

        Returns:
            The feature, Float64, exact until it is rounded once; null below two values.
        """
        return self._reduce("std", window, where)

    def n_unique(self, *, window: str | timedelta | None = None, where: Condition | None = None) -> R:
        """Count the window's different values, of any type; arguments and errors are those of `count`.

        Returns:
            The feature, Int64; 0 when there is no value. -0.0 and 0.0 are one value.

        Example:
            >>> from tinymlops import Rows
            >>> Rows()["merchant"].n_unique(window="7d")
            <n_unique of merchant over 7d>
        """
        return self._reduce("n_unique", window, where)

    def quantile(self, q: float, *, window: str | timedelta | None = None, where: Condition | None = None) -> R:
        """Take a quantile of the window by linear interpolation (type 7, as numpy, Polars' "linear" and R).

        Args:
            q: From 0.0, the smallest value, to 1.0, the greatest.
            window: As in `count`.
            where: As in `count`.

        Returns:
            The feature, Float64; null when there is no value.

        Raises:
            DefinitionError: If q is not from 0 to 1; and as `count`.

        Example:
            >>> from tinymlops import Rows
            >>> Rows()["delay"].quantile(0.9, window="7d")
            <quantile 0.9 of delay over 7d>
        """
        if isinstance(q, bool) or not isinstance(q, int | float) or not 0 <= q <= 1:
            raise DefinitionError(f"q={q!r} is not a quantile", hint="use a number from 0.0 to 1.0, such as 0.5")
        return self._reduce("quantile", window, where, q=float(q))

    def median(self, *, window: str | timedelta | None = None, where: Condition | None = None) -> R:
        """Take the window's median, which is `quantile(0.5)`; arguments and errors are those of `count`.

        Example:
            >>> from tinymlops import Rows
            >>> Rows()["delay"].median(window="7d")
            <quantile 0.5 of delay over 7d>
        """
        return self.quantile(0.5, window=window, where=where)

    def any(self, *, window: str | timedelta | None = None, where: Condition | None = None) -> R:
        """Check whether a condition holds for any row of the window; arguments and errors are those of `count`.

        Returns:
            The feature, Boolean; false when there is no value.

        Example:
            >>> from tinymlops import Rows
            >>> (Rows()["amount"] > 100).any(window="7d")
            <any of amount > 100 over 7d>
        """
        return self._reduce("any", window, where)

    def all(self, *, window: str | timedelta | None = None, where: Condition | None = None) -> R:
        """Check whether a condition holds for all rows of the window; arguments and errors are those of `count`.

        Returns:
            The feature, Boolean; true when there is no value.
        """
        return self._reduce("all", window, where)

    def time_since_last(self, *, window: str | timedelta, where: Condition | None = None) -> R:
        """Measure the time since the window's newest row that has a value; arguments and errors are those of `count`.

        Returns:
            The feature, Float64, seconds from that row's event time to `t`; null when there is none.

        Example:
            >>> from tinymlops import Rows
            >>> Rows()["coupon"].time_since_last(window="30d")
            <time_since_last of coupon over 30d>
        """
        return self._reduce("time_since_last", window, where)
