"""The point-in-time join as a function of two tables: what every training set is made with, on its own."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from tinymlops._keys import encode
from tinymlops._status import Status
from tinymlops._time import parse_duration
from tinymlops.errors import DataError, DefinitionError, near
from tinymlops.frames import Frame, give_back, require_no_nulls, times_to_micros, to_polars

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import polars as pl

    Array = np.ndarray[Any, Any]

__all__ = ["point_in_time_join"]

_SHOWN_ROWS = 5
_LONGEST_DELAY = 2**62
"""Microseconds; an event time plus a longer one might not fit into 64 bits."""


def point_in_time_join(
    spine: Frame,
    features: Frame,
    *,
    key: str | Sequence[str],
    timestamp: str,
    feature_key: str | Sequence[str] | None = None,
    feature_timestamp: str | None = None,
    created: str | None = None,
    delay: str | timedelta | None = None,
    ttl: str | timedelta | None = None,
    boundary: Literal["<=", "<"] = "<=",
    known: Literal["event", "latest"] | None = None,
    tz: str | None = None,
    prefix: str | None = None,
    details: bool = False,
) -> Frame:
    """Give each spine row the newest feature row of its key that was known at its time.

    A feature row is known at its event time plus `delay`, and with `created` not before it was created. Among
    the known rows the greatest (event time, created time, row number) wins, even if its values are null.
    Feature rows without an event time, or under `known="event"` without a created time, are never known.
    Nanoseconds round so that nothing is known early; a feature's date is the end of its day, a spine's the
    start.

    Args:
        spine: The rows to answer for: any table that `tinymlops.frames.to_polars` reads.
        features: The feature rows, in any order.
        key: The key column or columns of the spine; a null in any of them matches nothing.
        timestamp: The spine's time column; no nulls.
        feature_key: The features' key columns where their names differ.
        feature_timestamp: The features' event time column where its name differs.
        created: The features' column of created times: a filter and a tie-break, not returned.
        delay: How long after its event time a row is known: a duration, or the name of a column of durations
            or of whole microseconds (not returned).
        ttl: The greatest age `spine time - event time` of a match, inclusive; None for no limit.
        boundary: "<=" matches what is known by the spine's time, "<" only what is known before it.
        known: "event" leaves out rows created after the spine's time, "latest" uses every row; None is
            "event" where `created` is given, else "latest".
        tz: The zone of times and dates that carry none.
        prefix: Put before the name of each feature column.
        details: Add the columns `status` (as in `Status`; NULL_VALUE where the match's values are all null)
            and `event_time` (of the match, UTC), with the prefix.

    Returns:
        The spine's rows, in their order, with the feature columns; as the kind of frame that the spine is.

    Raises:
        DataError: If keys, times or delays cannot be used, or a column name would occur twice.
        DefinitionError: If an option is not possible.

    Example:
        >>> import polars as pl
        >>> from datetime import UTC, datetime
        >>> spine = pl.DataFrame({"id": [1, 1], "at": [datetime(2024, 1, 2, h, tzinfo=UTC) for h in (9, 12)]})
        >>> rows = spine.with_columns(at=pl.Series([datetime(2024, 1, 2, h, tzinfo=UTC) for h in (8, 12)]))
        >>> rows = rows.with_columns(wind=pl.Series([3.0, 7.0]))
        >>> point_in_time_join(spine, rows, key="id", timestamp="at")["wind"].to_list()
        [3.0, 7.0]
        >>> point_in_time_join(spine, rows, key="id", timestamp="at", delay="1h")["wind"].to_list()
        [3.0, 3.0]
    """
    _check_choices(boundary, known, created)
    left, right = to_polars(spine), to_polars(features)
    keys = [key] if isinstance(key, str) else list(key)
    right_keys = keys if feature_key is None else [feature_key] if isinstance(feature_key, str) else list(feature_key)
    if not keys or len(keys) != len(right_keys):
        raise DefinitionError(
            f"key={keys} and feature_key={right_keys} must name as many columns",
            hint="name at least one in each",
        )
    right_time = feature_timestamp or timestamp
    limit = None if ttl is None else parse_duration(ttl, name="ttl")
    wait = _read_delay(delay, right, limit)
    used = {*right_keys, right_time, created, wait.column}
    _check_columns(left, [*keys, timestamp], "spine")
    _check_columns(right, [*right_keys, right_time, *([created] if created else [])], "features")
    values = right.select(column for column in right.columns if column not in used)
    _check_clashes(left, values.columns, prefix or "", details=details)

    time = times_to_micros(left[timestamp], role="spine", tz=tz, name=timestamp)
    require_no_nulls(time, name=timestamp)
    codes = encode([left[name] for name in keys], [right[name] for name in right_keys], keys)
    rows = _read_rows(
        right, right_time, created, wait, tz, by_event=(known or "event") == "event" and created is not None
    )
    empty = _all_null(values) if details else None
    found = _match(codes, time.to_numpy(), rows, strict=boundary == "<", ttl=limit, empty=empty)
    result = _assemble(left, values, found, rows, prefix or "")
    assert result.height == left.height, "a point-in-time join returns the spine's rows"
    return give_back(result, spine)


class _Delay(NamedTuple):
    """How long after its event time a row is known: one duration, or one per row."""

    micros: int = 0
    column: str | None = None


class _Rows(NamedTuple):
    """The features' times in microseconds, UTC, one per row."""

    event: Array
    available: Array
    created: Array | None


class _Found(NamedTuple):
    """The feature row of each spine row, -1 for none, and its status if that was asked for."""

    winner: Array
    status: Array | None


def _match(
    codes: tuple[Array, Array, int],
    time: Array,
    rows: _Rows,
    *,
    strict: bool,
    ttl: int | None,
    empty: Array | None,
) -> _Found:
    """Find the winners: streaming where they are all that is asked for, by arranged records where their
    status is, too.

    Args:
        codes: Spine codes int64[m], feature codes int64[n], number of keys.
        time: int64[m] spine times.
        rows: The features' times.
        strict: Whether what is known at the time itself is left out.
        ttl: Microseconds, or None.
        empty: bool[n], whether a feature row's values are all null; None if no status is asked for.
    """
    import numpy as np

    from tinymlops.kernels.asof import latest, latest_unsorted, status
    from tinymlops.kernels.records import arrange

    spine_key, key, keys = codes
    if empty is None:
        winner = latest_unsorted(spine_key, time, key, *rows, keys=keys, strict=strict, ttl=ttl)
        return _Found(winner, None)
    records, order = arrange(_without_null_events(key, rows), *rows, None, keys=keys)
    place = latest(records, spine_key, time, strict=strict, ttl=ttl)
    hit = place >= 0
    winner = np.full(len(time), -1, np.int64)
    winner[hit] = order[place[hit]]
    null = np.zeros(len(time), np.bool_)
    null[hit] = empty[winner[hit]]
    why, _ = status(records, place, spine_key, time, strict=strict, ttl=ttl, value_is_null=null)
    return _Found(winner, why)


def _all_null(values: pl.DataFrame) -> Array:
    """Return bool[n], whether all values of a row are null."""
    import numpy as np
    import polars as pl

    if not values.width:
        return np.zeros(values.height, np.bool_)
    return values.select(pl.all_horizontal(pl.all().is_null())).to_series().to_numpy()


def _without_null_events(key: Array, rows: _Rows) -> Array:
    """Drop rows without an event time: they must not pass for facts that had happened but were not yet known."""
    import numpy as np

    from tinymlops.kernels.records import FOREVER

    return np.where(rows.event == FOREVER, -1, key)


def _assemble(left: pl.DataFrame, values: pl.DataFrame, found: _Found, rows: _Rows, prefix: str) -> pl.DataFrame:
    """Gather the feature columns by row index, so that any type works, and put them beside the spine."""
    import numpy as np
    import polars as pl

    index = pl.Series(np.where(found.winner < 0, 0, found.winner), dtype=pl.get_index_type())
    missing = pl.Series(found.winner < 0)
    index = index.set(missing, None) if missing.any() else index
    gathered = values.select(pl.all().gather(index).name.prefix(prefix))  # all columns at once, on Polars' threads
    columns = gathered.get_columns()
    if found.status is not None:
        names = [status.name for status in Status]
        columns.append(pl.Series(prefix + "status", names, dtype=pl.Enum(names)).gather(found.status))
        event = pl.Series(prefix + "event_time", rows.event).gather(index)
        columns.append(event.cast(pl.Datetime("us", "UTC")))
    return left.with_columns(columns)


def _read_rows(
    right: pl.DataFrame, timestamp: str, created: str | None, delay: _Delay, tz: str | None, *, by_event: bool
) -> _Rows:
    """Read when each feature row happened, when it was known, and when it was created."""
    import polars as pl

    from tinymlops.kernels.records import FOREVER, NEVER

    event = times_to_micros(right[timestamp], role="feature", tz=tz, name=timestamp)
    available = event + (right_delay if (right_delay := _delay_column(right, delay)) is not None else delay.micros)
    if created is None:
        return _Rows(_filled(event, FOREVER), _filled(available, FOREVER), None)
    known_from = times_to_micros(right[created], role="feature", tz=tz, name=created)
    if by_event:
        # A null on either side stays null: what was created at no known time is never known.
        later = known_from > available
        available = pl.select(pl.when(later).then(known_from).when(~later).then(available)).to_series()
    return _Rows(_filled(event, FOREVER), _filled(available, FOREVER), _filled(known_from, NEVER))


def _filled(values: pl.Series, null: int) -> Array:
    return (values.fill_null(null) if values.null_count() else values).to_numpy()


def _read_delay(delay: str | timedelta | None, right: pl.DataFrame, ttl: int | None) -> _Delay:
    """Tell a duration from the name of a column; a column's own values are checked when they are read."""
    if delay is None or delay == timedelta(0):
        return _Delay()
    if isinstance(delay, str) and delay in right.columns:
        return _Delay(column=delay)
    micros = parse_duration(delay, name="delay")
    if ttl is not None and micros >= ttl:
        raise DefinitionError(
            f"delay={delay!r} is not shorter than the ttl: a row would expire before it is known",
            hint="raise ttl above the delay",
        )
    return _Delay(micros)


def _delay_column(right: pl.DataFrame, delay: _Delay) -> pl.Series | None:
    """Return each row's delay in microseconds, rounded up, or None where one delay serves all.

    Raises:
        DataError: If one is negative or null, or the column holds neither durations nor integers.
    """
    import polars as pl

    if delay.column is None:
        return None
    values = right[delay.column]
    if isinstance(values.dtype, pl.Duration):
        unit, numbers = values.dtype.time_unit, values.to_physical()
        values = -(-numbers // 1000) if unit == "ns" else numbers if unit == "us" else numbers * 1000
    elif not values.dtype.is_integer():
        raise DataError(
            f"delay column {delay.column!r} is {values.dtype}",
            hint="give durations, or integers of microseconds",
        )
    wrong = ((values < 0) | (values >= _LONGEST_DELAY)).fill_null(value=True)
    if wrong.any():
        raise DataError(
            f"delay column {delay.column!r} is negative, null or endless in rows {wrong.arg_true().head(_SHOWN_ROWS).to_list()}",
            hint="a row cannot be known before it happened; use 0 where there is no delay",
        )
    return values.cast(pl.Int64)


def _check_choices(boundary: str, known: str | None, created: str | None) -> None:
    if boundary not in ("<=", "<"):
        raise DefinitionError(f"boundary={boundary!r} is not possible", hint='use "<=" or "<"')
    if known not in (None, "event", "latest"):
        raise DefinitionError(f"known={known!r} is not possible", hint='use "event" or "latest"')
    if known == "event" and created is None:
        raise DefinitionError(
            'known="event" needs to know when each row was created', hint="name that column in created="
        )


def _check_columns(frame: pl.DataFrame, names: Sequence[str], role: str) -> None:
    for name in names:
        if name not in frame.columns:
            raise DataError(f"there is no column {name!r} in the {role}", hint=near(name, frame.columns))


def _check_clashes(left: pl.DataFrame, values: Sequence[str], prefix: str, *, details: bool) -> None:
    fresh = [prefix + name for name in [*values, *(["status", "event_time"] if details else [])]]
    clashes = sorted({name for name in fresh if name in left.columns or fresh.count(name) > 1})
    if clashes:
        raise DataError(
            f"columns {clashes} would occur twice in the result",
            hint='give prefix= a text such as "weather_", or rename them',
        )
