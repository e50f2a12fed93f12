"""`tm.backtest`: folds by time, such as a month to test on and all that was known before it to train on."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from zoneinfo import ZoneInfo

import msgspec

from tinymlops.errors import DataError, DefinitionError
from tinymlops.times import LAST_MICROS, from_micros, parse_duration, parse_instant, parse_zone, to_micros

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Backtest", "Fold", "SplitRows", "TimedData", "backtest"]

_MONTHS = {"mo": 1, "y": 12}
_DAYS = {"d": 1, "w": 7}
_MOST = 10_000
"""The most periods that a backtest has: more of them is a slip of the pen."""
_DIGITS = 5


class SplitRows(Protocol):
    """Rows to fit or to test on."""

    @property
    def X(self) -> pl.DataFrame:  # noqa: N802  # the field's name
        """Features only, in order."""

    @property
    def y(self) -> pl.Series:
        """The label."""

    @property
    def spine(self) -> pl.DataFrame:
        """Keys, request fields and `timestamp` of each row."""


class TimedData(Protocol):
    """The properties of training data that a backtest needs."""

    reach: timedelta
    tz: str

    @property
    def train(self) -> SplitRows:
        """The rows to make folds of."""


class FoldRows(NamedTuple):
    """The rows of a fold to train or to test on."""

    X: pl.DataFrame
    y: pl.Series
    spine: pl.DataFrame


class Fold:
    """A period to test on, and the rows before it to train on; unpacked, it is both.

    Attributes:
        name: When the period begins, such as "2013-05-01", in the project's zone.
        start: The first moment of the period, UTC.
        stop: The first moment after it.
        train_rows: How many rows there are to train on.
        test_rows: How many rows there are to test on.
        purged: Rows of before the period whose outcome was open when it began, or within the embargo: left out.
        missing: Why it cannot be used, such as "no row to train on"; empty if it can.
    """

    def __init__(self, rows: SplitRows, period: _Period, train: pl.Series, test: pl.Series, purged: int) -> None:
        self._rows, self._train, self._test = rows, train, test
        self.name, self.start, self.stop = period
        self.train_rows, self.test_rows, self.purged = int(train.sum()), int(test.sum()), purged
        self.missing = _missing(self.train_rows, self.test_rows, purged)

    def __repr__(self) -> str:
        purged = f", {self.purged:,} purged" if self.purged else ""
        return f"<fold {self.name}: train {self.train_rows:,}, test {self.test_rows:,} rows{purged}>"

    def __iter__(self) -> Iterator[FoldRows]:
        yield self.train
        yield self.test

    @property
    def train(self) -> FoldRows:
        """The rows to train on."""
        return self._chosen(self._train)

    @property
    def test(self) -> FoldRows:
        """The rows to test on."""
        return self._chosen(self._test)

    def _chosen(self, chosen: pl.Series) -> FoldRows:
        rows = self._rows
        return FoldRows(rows.X.filter(chosen), rows.y.filter(chosen), rows.spine.filter(chosen))


class _Period(NamedTuple):
    name: str
    start: datetime
    stop: datetime


class Backtest(msgspec.Struct, frozen=True, kw_only=True):
    """How training data are split into folds by time; made by `tm.backtest`."""

    every: str
    folds: int | None = None
    start: str | None = None
    window: str | None = None
    embargo: str | None = None

    def split(self, data: TimedData) -> list[Fold]:
        """Return the folds, the oldest first; periods without rows to train or to test on are left out.

        Args:
            data: Training data, of which `data.train` is split: `data.test` stays unseen.

        Raises:
            DataError: If no fold is left.

        Example:
            >>> for train, test in tm.backtest(every="1mo").split(data):  # doctest: +SKIP
            ...     model.fit(train.X, train.y).score(test.X, test.y)
        """
        periods = self.periods(data)
        found = [fold for fold in periods if not fold.missing]
        if not found:
            raise DataError(
                f"no period of {self.every} has rows to train on and rows to test on"
                + (f": {periods[0].name} has {periods[0].missing}" if periods else ": there is no row"),
                hint="choose shorter periods, or a later start",
            )
        return found

    def periods(self, data: TimedData) -> list[Fold]:
        """Return the folds with those that cannot be used, which say why in `missing`."""
        if not hasattr(data, "reach"):
            raise DefinitionError(
                f"{data!r:.100} is not training data", hint="pass what ws.get_training_data(...) returns"
            )
        rows = data.train
        known = rows.y.is_not_null()
        time = rows.spine["timestamp"].dt.cast_time_unit("us").to_physical()
        times = time.filter(known)
        if not len(times):
            return []
        first, last = int(times.min()), int(times.max())  # type: ignore[arg-type]  # whole numbers
        reach = data.reach // timedelta(microseconds=1) + _micros(self.embargo, "embargo")
        try:
            periods = list(self._periods(first, last, data.tz))
        except OverflowError as error:
            raise DataError("a row's time is too near to the end of the calendar", hint="see its spine") from error
        found = [self._fold(rows, period, time, known, reach) for period in periods]
        return found if self.folds is None else _newest(found, self.folds)

    def _fold(self, rows: SplitRows, period: _Period, time: pl.Series, known: pl.Series, reach: int) -> Fold:
        start, stop = to_micros(period.start), to_micros(period.stop)
        before = known & (time < start)
        if self.window is not None:
            before &= time >= start - _micros(self.window, "window")
        # As at `test_from` of a training set: the last outcome came before the period begins.
        train = before & (time + reach < start)
        return Fold(rows, period, train, known & (time >= start) & (time < stop), int(before.sum()) - int(train.sum()))

    def _periods(self, first: int, last: int, tz: str) -> Iterator[_Period]:
        step = _Step.of(self.every)
        zone = parse_zone(tz) if step.unit in _MONTHS or step.unit in _DAYS else ZoneInfo("UTC")
        if self.start is None:
            origin, begin = step.floor(from_micros(first).astimezone(zone)), 1
        else:
            at = parse_instant(self.start, name="start", zone=parse_zone(tz))
            origin, begin = at.astimezone(zone).replace(tzinfo=None), 0
        for number in range(begin, begin + _MOST + 1):
            start, stop = step.after(origin, number), step.after(origin, number + 1)
            if start is None or to_micros(start.replace(tzinfo=zone)) > last:
                return
            ended = from_micros(LAST_MICROS) if stop is None else stop.replace(tzinfo=zone).astimezone(UTC)
            if to_micros(ended) > first:
                begun = start.replace(tzinfo=zone)
                yield _Period(_name(begun), begun.astimezone(UTC), ended)
        raise DefinitionError(
            f"every={self.every!r} makes more than {_MOST:,} periods of {from_micros(first):%Y-%m-%d} to "
            f"{from_micros(last):%Y-%m-%d}",
            hint="choose longer periods, or a later start",
        )


def backtest(
    *,
    every: str,
    folds: int | None = None,
    start: datetime | date | str | None = None,
    window: str | timedelta | None = None,
    embargo: str | timedelta | None = None,
) -> Backtest:
    """Describe folds by time: each period is tested on once, by what was trained on the rows before it.

    A row whose outcome was still open when the period began is not trained on: its label would tell of the period.

    Args:
        every: The length of a period: a number and a unit, such as "1mo"; y, mo, w and d are of the calendar in the
            project's zone, h, m and s have a fixed length.
        folds: Only the newest so many that can be used; by default all but the first period, which has nothing before it.
        start: The first moment of the first period that is tested on; without it, periods begin with the calendar's.
        window: Train only on the rows of so long before, such as "90d"; by default on all.
        embargo: Leave out so much more before a period, such as "1d" for a label that comes late.

    Raises:
        DefinitionError: If a period or a duration cannot be read.
        DataError: If `start` is not a time.

    Example:
        >>> backtest(every="1mo", folds=6)
        Backtest(every='1mo', folds=6, start=None, window=None, embargo=None)
    """
    _Step.of(every)
    if folds is not None and (not isinstance(folds, int) or isinstance(folds, bool) or folds < 1):
        raise DefinitionError(f"folds={folds!r} is not possible", hint="use a whole number from 1 on")
    found: dict[str, Any] = {"every": every, "folds": folds}
    if start is not None:
        parse_instant(start, name="start", zone=ZoneInfo("UTC"))
        found["start"] = start.isoformat() if isinstance(start, date) else str(start)
    for name, value in {"window": window, "embargo": embargo}.items():
        if value is not None:
            micros = parse_duration(value, name=name)
            found[name] = value if isinstance(value, str) else f"{micros}us"
    return Backtest(**found)


class _Step(NamedTuple):
    """The length of a period."""

    length: int
    unit: str

    @classmethod
    def of(cls, every: object) -> _Step:
        """Read a length such as "1mo"."""
        text = every if isinstance(every, str) else ""
        digits = len(text) - len(text.lstrip("0123456789"))
        count, unit = text[:digits], text[digits:]
        if not 1 <= len(count) <= _DIGITS or int(count) < 1 or unit not in (*_MONTHS, *_DAYS, "h", "m", "s"):
            raise DefinitionError(
                f"every={every!r} is not the length of a period",
                hint='write a number and a unit (y, mo, w, d, h, m, s), such as "1mo"',
            )
        return cls(int(count), unit)

    def floor(self, moment: datetime) -> datetime:
        """Return when the period of a moment began, without a zone."""
        day = datetime(moment.year, moment.month, moment.day)  # noqa: DTZ001  # of the wall clock
        if self.unit in _MONTHS:
            months = self.length * _MONTHS[self.unit]
            return _month((moment.year * 12 + moment.month - 1) // months * months, 1)
        if self.unit in _DAYS:
            days = self.length * _DAYS[self.unit]
            return day - timedelta(days=(day.toordinal() - 1) % days)  # the ordinal 1 is a Monday
        fixed = parse_duration(f"{self.length}{self.unit}", name="every")
        return from_micros(to_micros(moment) // fixed * fixed).replace(tzinfo=None)

    def after(self, origin: datetime, number: int) -> datetime | None:
        """Return when the period of a number begins, without a zone; the origin has 0; None after the year 9999."""
        try:
            if self.unit in _MONTHS:
                month = origin.year * 12 + origin.month - 1 + number * self.length * _MONTHS[self.unit]
                return _month(month, origin.day).replace(
                    hour=origin.hour, minute=origin.minute, second=origin.second, microsecond=origin.microsecond
                )
            if self.unit in _DAYS:
                return origin + timedelta(days=number * self.length * _DAYS[self.unit])
            fixed = parse_duration(f"{self.length}{self.unit}", name="every")
            return origin + timedelta(microseconds=number * fixed)
        except (OverflowError, ValueError):
            return None


def _month(months: int, day: int) -> datetime:
    """Return midnight of a day, or the last day, of a month counted from the year 0."""
    year, month = divmod(months, 12)
    year = max(year, 1)
    return datetime(year, month + 1, min(day, monthrange(year, month + 1)[1]))  # noqa: DTZ001  # of the wall clock


def _name(start: datetime) -> str:
    if (start.hour, start.minute, start.second, start.microsecond) == (0, 0, 0, 0):
        return f"{start:%Y-%m-%d}" if start.year > 999 else start.date().isoformat()
    return start.isoformat()


def _newest(found: list[Fold], count: int) -> list[Fold]:
    usable = [place for place, fold in enumerate(found) if not fold.missing]
    return found[usable[-count] :] if len(usable) > count else found


def _missing(train: int, test: int, purged: int) -> str:
    if not test:
        return "no row to test on"
    if not train:
        return "no row to train on" + (f", {purged:,} are purged" if purged else "")
    return ""


def _micros(duration: str | None, name: str) -> int:
    return 0 if duration is None else parse_duration(duration, name=name)
