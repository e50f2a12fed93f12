"""Durations, zones and clocks. Inside, every time is an int64 count of microseconds since 1970 in UTC."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tinymlops.errors import DataError, DefinitionError

__all__ = [
    "ENDLESS",
    "FIRST_MICROS",
    "LAST_MICROS",
    "Clock",
    "ReplayClock",
    "format_duration",
    "from_micros",
    "parse_duration",
    "parse_instant",
    "parse_zone",
    "system_clock",
    "to_micros",
]

Clock = Callable[[], datetime]

_UNITS = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
_DURATION = re.compile(r"(\d+)(us|ms|s|m|h|d|w)")
_LONGEST = 100
"""The most characters of a value in an error."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

FIRST_MICROS = -62_135_596_800_000_000
"""The first microsecond of the year 1 in UTC: neither Python nor JSON can write an earlier time."""
LAST_MICROS = 253_402_300_799_999_999
"""The last microsecond of the year 9999 in UTC: neither Python nor JSON can write a later time."""
ENDLESS = 2**63 - 1
"""SQL's 'infinity', in any unit: a moment after all others."""


def parse_duration(value: str | timedelta, *, name: str) -> int:
    """Read a fixed duration such as "30d", "1h30m" or a timedelta.

    Args:
        value: Number and unit, repeated at will; units us, ms, s, m, h, d (24 h) and w.
        name: The argument's name, for the error.

    Returns:
        Microseconds, greater than zero.

    Raises:
        DefinitionError: If it is not a duration, zero or negative.

    Example:
        >>> parse_duration("1h30m", name="window")
        5400000000
    """
    if isinstance(value, timedelta):
        micros = value // timedelta(microseconds=1)
    else:
        parts = _DURATION.findall(value) if isinstance(value, str) else []
        if not parts or "".join(number + unit for number, unit in parts) != value:
            raise DefinitionError(
                f"{name}={value!r} is not a duration",
                hint='write a number and a unit (us, ms, s, m, h, d, w), such as "30d" or "1h30m"; '
                "months and years have no fixed length",
            )
        micros = sum(int(number) * _UNITS[unit] for number, unit in parts)
    if micros <= 0:
        raise DefinitionError(f"{name}={value!r} must be longer than zero", hint=f"leave {name} out for no limit")
    if micros >= 2**62:
        raise DefinitionError(f"{name}={value!r} is longer than 140,000 years", hint="use a shorter duration")
    return micros


def format_duration(micros: int) -> str:
    """Write microseconds the way `parse_duration` reads them.

    Example:
        >>> format_duration(5_400_000_000)
        '1h30m'
    """
    parts = []
    for unit in ("d", "h", "m", "s", "ms", "us"):
        count, micros = divmod(micros, _UNITS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def parse_zone(name: str) -> ZoneInfo:
    """Return the zone with an IANA name.

    Raises:
        DefinitionError: If there is no such zone.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise DefinitionError(
            f"there is no time zone {name!r}", hint='use an IANA name such as "Europe/Vienna" or "UTC"'
        ) from error


def to_micros(moment: datetime) -> int:
    """Convert an aware time to microseconds since 1970 in UTC, exactly."""
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def from_micros(micros: int) -> datetime:
    """Convert microseconds since 1970 in UTC to an aware UTC time."""
    return _EPOCH + timedelta(microseconds=micros)


def parse_instant(value: datetime | date | str, *, name: str, zone: ZoneInfo | None = None) -> datetime:
    """Read a moment.

    Args:
        value: A datetime, also of pandas or NumPy, or ISO 8601 text; a date alone is its first instant.
        name: The argument's name, for the error.
        zone: The zone of a moment without one.

    Returns:
        The same moment in UTC.

    Raises:
        DataError: If it is not a time, no zone is known, or it is outside the years 1 to 9999 in UTC.

    Example:
        >>> parse_instant(date(2013, 10, 1), name="test_from", zone=ZoneInfo("America/New_York")).isoformat()
        '2013-10-01T04:00:00+00:00'
    """
    moment = _read_moment(value)
    if moment is None:
        shown = repr(value) if len(repr(value)) < _LONGEST else f"{repr(value)[:_LONGEST]}..."
        raise DataError(
            f"{name}={shown} is not a time", hint='use a date, a datetime, or ISO 8601 such as "2013-10-01T00:00:00Z"'
        )
    if moment.tzinfo is None:
        if zone is None:
            raise DataError(
                f"{name}={value!r} has no time zone", hint="add an offset, such as +00:00 or Z, or set a zone"
            )
        moment = moment.replace(tzinfo=zone)
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise DataError(f"{name}={value!r} is outside the years 1 to 9999 in UTC") from error


def _read_moment(value: Any) -> datetime | None:
    """Return a moment as it is written, with or without a zone; None for anything else."""
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            return None
    if type(value).__module__ == "numpy" and hasattr(value, "astype"):  # a datetime64 has no zone
        value = _of_numpy(value)
    elif hasattr(value, "to_pydatetime"):  # a pandas Timestamp, which has nanoseconds
        value = value.to_pydatetime(warn=False)
    if isinstance(value, datetime):
        return value if value == value else None  # NaT is a datetime that is not itself
    return datetime(value.year, value.month, value.day) if isinstance(value, date) else None  # noqa: DTZ001  # see above


def _of_numpy(value: Any) -> object:
    if value.dtype.kind != "M" or value.shape:
        return None
    micros = value.astype("datetime64[us]")
    # NumPy wraps what is too far away.
    return micros.item() if micros.astype("datetime64[Y]") == value.astype("datetime64[Y]") else None


def system_clock() -> datetime:
    """Return the machine's time in UTC."""
    return datetime.now(UTC)


class ReplayClock:
    """A clock that stands still until it is moved, to replay the past.

    Args:
        start: The first moment: an aware datetime or ISO 8601 text with an offset.

    Example:
        >>> clock = ReplayClock("2013-10-01T00:00:00Z")
        >>> clock.advance("6h")
        >>> clock()
        datetime.datetime(2013, 10, 1, 6, 0, tzinfo=datetime.timezone.utc)
    """

    def __init__(self, start: datetime | str) -> None:
        self._now = parse_instant(start, name="start")

    def __call__(self) -> datetime:
        """Return the moment that the clock shows."""
        return self._now

    def advance(self, duration: str | timedelta) -> None:
        """Move forward by a duration such as "6h"."""
        self._now += timedelta(microseconds=parse_duration(duration, name="duration"))

    def move_to(self, moment: datetime | str) -> None:
        """Move forward to a moment.

        Raises:
            DataError: If the moment is before the clock's.
        """
        target = parse_instant(moment, name="moment")
        if target < self._now:
            raise DataError(
                f"a replay clock at {self._now.isoformat()} cannot go back to {target.isoformat()}",
                hint="make a new workspace to replay from an earlier time",
            )
        self._now = target

    def __repr__(self) -> str:
        return f"ReplayClock({self._now.isoformat()!r})"
