"""The point-in-time join as a function of two tables: the core of every training set, on its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from tinymlops._forks import require_threads
from tinymlops._status import Status
from tinymlops.errors import DataError, DefinitionError, near
from tinymlops.features.definitions.source_options import local_times
from tinymlops.features.join.gathering import gather, gather_batches
from tinymlops.features.join.record_times import Names, Rule, Zone, read_delay
from tinymlops.features.join.search import Points, Search
from tinymlops.features.join.tables import InMemory, OnDisk, open_table
from tinymlops.frames import Ambiguous, DateMeans, Frame, give_back, require_no_nulls, to_polars
from tinymlops.progress import progress
from tinymlops.times import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import timedelta
    from pathlib import Path

    import numpy as np
    import polars as pl

    Array = np.ndarray[Any, Any]

__all__ = ["point_in_time_join"]


def point_in_time_join(
    spine: Frame,
    features: Frame | str | Path,
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
    ambiguous: Ambiguous = "raise",
    date_means: DateMeans | None = None,
    prefix: str | None = None,
    details: bool = False,
) -> Frame:
    """Give each spine row the newest feature row of its key that was known at its time.

    A feature row is known at its event time plus `delay`, and with `created` not before it was created. Among
    the known rows the greatest (event time, created time, row number) wins, even if its values are null.
    Feature rows without an event time, or under `known="event"` without a created time, are never known.
    Nanoseconds round so that nothing is known early; a spine's date is the start of its day.

    Args:
        spine: The rows to answer for: any table that `tinymlops.frames.to_polars` reads.
        features: The feature rows, in any order: a table as well, or the path of Parquet files (`*` stands for several),
            or a Polars scan of them. Files are read twice, some rows at a time: memory is that of the spine.
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
        ambiguous: How to read a time without a zone that a clock change skipped or repeated: as the "earliest" or the
            "latest" of its two readings; or as an error.
        date_means: Whether a feature's date is the "start" or the "end" of its day; None for the end.
        prefix: Put before the name of each feature column.
        details: Add `status` (as in `Status`; NULL_VALUE where the match's values are all null) and `event_time` (of the
            match, UTC), with the prefix.

    Returns:
        The spine's rows, in their order, with the feature columns; as the kind of frame that the spine is.

    Raises:
        DataError: If keys, times or delays cannot be used, a column name would occur twice, or a file changes meanwhile.
        DefinitionError: If an option is not possible.
        ConflictError: In a forked child of a process that had used Polars.

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
    require_threads()
    _check_choices(boundary, known, created)
    left, right = to_polars(spine), open_table(features)
    keys, right_keys = _key_columns(key, feature_key)
    limit = None if ttl is None else parse_duration(ttl, name="ttl")
    zone = Zone(**local_times(tz, ambiguous, date_means))
    names = Names(right_keys, feature_timestamp or timestamp, created, read_delay(delay, right.schema, limit))
    _check_columns(left.columns, [*keys, timestamp], "spine")
    _check_columns(list(right.schema), names.used(), "features")
    values = [column for column in right.schema if column not in names.used()]
    _check_clashes(left.columns, values, prefix or "", details=details)
    time = zone.micros(left[timestamp], role="spine")
    require_no_nulls(time, name=timestamp)
    by_event = (known or "event") == "event" and created is not None
    rule = Rule(strict=boundary == "<", ttl=limit, zone=zone, by_event=by_event)
    points = Points([left[name] for name in keys], keys, time.to_numpy())
    columns = _joined(points, right, names, rule, values, details=details)
    result = left.with_columns(column.alias((prefix or "") + column.name) for column in columns)
    assert result.height == left.height, "a point-in-time join returns the spine's rows"
    return give_back(result, spine)


def _key_columns(key: str | Sequence[str], feature_key: str | Sequence[str] | None) -> tuple[list[str], list[str]]:
    """Return the key columns of the spine and those of the features."""
    keys = [key] if isinstance(key, str) else list(key)
    right_keys = keys if feature_key is None else [feature_key] if isinstance(feature_key, str) else list(feature_key)
    if not keys or len(keys) != len(right_keys):
        raise DefinitionError(
            f"key={keys} and feature_key={right_keys} must name as many columns",
            hint="name at least one in each",
        )
    return keys, right_keys


def _joined(
    points: Points, table: InMemory | OnDisk, names: Names, rule: Rule, values: list[str], *, details: bool
) -> list[pl.Series]:
    """Return the values that each point gets from the features, and with details the reasons."""
    search = Search(points, table.schema, names, rule, explain=details)
    with progress("joining", 2 * table.height) as advance:
        search.read(_told(table.batches(names.used()), advance))
        winner = search.winners()
        columns = _gathered(table, [*values, names.event] if details else values, winner, advance)
    if not details:
        return columns
    *columns, event = columns
    return columns + _explained(columns, event, winner, search.reasons(), rule.zone)


def _told(batches: Iterator[pl.DataFrame], advance: Callable[[int], None]) -> Iterator[pl.DataFrame]:
    """Pass batches on, and report each one that is done."""
    for batch in batches:
        yield batch
        advance(batch.height)


def _gathered(
    table: InMemory | OnDisk, columns: list[str], winner: Array, advance: Callable[[int], None]
) -> list[pl.Series]:
    """Return some columns of the winners, in a second pass if the table is not in one piece."""
    if isinstance(table, InMemory) and table.frame.n_chunks() == 1:
        return gather(table.frame.select(columns), winner)
    schema = {name: table.schema[name] for name in columns}
    return gather_batches(_told(table.batches(columns), advance), winner, schema)


def _explained(values: list[pl.Series], event: pl.Series, winner: Array, reason: Array, zone: Zone) -> list[pl.Series]:
    """Return the status of each row's values, and the event time (UTC) of its match."""
    import numpy as np
    import polars as pl

    null = np.logical_and.reduce([column.is_null().to_numpy() for column in values]) if values else np.False_
    status = np.where(winner < 0, reason, np.where(null, Status.NULL_VALUE, Status.PRESENT))
    names = [status.name for status in Status]
    moments = zone.micros(event, role="feature")
    return [
        pl.Series("status", names, dtype=pl.Enum(names)).gather(status),
        moments.cast(pl.Datetime("us", "UTC")).alias("event_time"),
    ]


def _check_choices(boundary: str, known: str | None, created: str | None) -> None:
    if boundary not in ("<=", "<"):
        raise DefinitionError(f"boundary={boundary!r} is not possible", hint='use "<=" or "<"')
    if known not in (None, "event", "latest"):
        raise DefinitionError(f"known={known!r} is not possible", hint='use "event" or "latest"')
    if known == "event" and created is None:
        raise DefinitionError(
            'known="event" needs to know when each row was created', hint="name that column in created="
        )


def _check_columns(columns: Sequence[str], names: Sequence[str], role: str) -> None:
    for name in names:
        if name not in columns:
            raise DataError(f"there is no column {name!r} in the {role}", hint=near(name, columns))


def _check_clashes(left: Sequence[str], values: Sequence[str], prefix: str, *, details: bool) -> None:
    fresh = [prefix + name for name in [*values, *(["status", "event_time"] if details else [])]]
    clashes = sorted({name for name in fresh if name in left or fresh.count(name) > 1})
    if clashes:
        raise DataError(
            f"columns {clashes} would occur twice in the result",
            hint='give prefix= a text such as "weather_", or rename them',
        )
