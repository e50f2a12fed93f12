"""The point-in-time join as a function of two tables: what every training set is made with, on its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from tinymlops._keys import Coder, encode
from tinymlops._progress import progress
from tinymlops._status import Status
from tinymlops._time import parse_duration
from tinymlops.errors import DataError, DefinitionError, near
from tinymlops.features.gathering import gather, gather_batches
from tinymlops.features.record_times import Names, Rows, Rule, plus, read_delay, read_rows
from tinymlops.features.tables import InMemory, OnDisk, open_table
from tinymlops.frames import Frame, give_back, require_no_nulls, times_to_micros, to_polars

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import timedelta
    from pathlib import Path

    import numpy as np
    import polars as pl

    Array = np.ndarray[Any, Any]

__all__ = ["point_in_time_join"]

_CODED_ROWS = 1 << 22
"""Feature rows whose keys are numbered at a time, so that the numbers of all are never held at once."""


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
        features: The feature rows, in any order: a table as well, or the path of Parquet files (`*` stands
            for several), or a Polars scan of them. Files are read twice, some rows at a time, key and times first
            and then the values: memory is that of the spine, unless there are `details`.
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
    left, right = to_polars(spine), open_table(features)
    keys = [key] if isinstance(key, str) else list(key)
    right_keys = keys if feature_key is None else [feature_key] if isinstance(feature_key, str) else list(feature_key)
    if not keys or len(keys) != len(right_keys):
        raise DefinitionError(
            f"key={keys} and feature_key={right_keys} must name as many columns",
            hint="name at least one in each",
        )
    limit = None if ttl is None else parse_duration(ttl, name="ttl")
    names = Names(right_keys, feature_timestamp or timestamp, created, read_delay(delay, right.schema, limit))
    _check_columns(left.columns, [*keys, timestamp], "spine")
    _check_columns(list(right.schema), names.used(), "features")
    values = [column for column in right.schema if column not in names.used()]
    _check_clashes(left.columns, values, prefix or "", details=details)

    time = times_to_micros(left[timestamp], role="spine", tz=tz, name=timestamp)
    require_no_nulls(time, name=timestamp)
    rule = Rule(
        strict=boundary == "<", ttl=limit, tz=tz, by_event=(known or "event") == "event" and created is not None
    )
    points = _Points([left[name] for name in keys], keys, time.to_numpy())
    columns = (
        _explained(points, right, names, values, rule) if details else _streamed(points, right, names, values, rule)
    )
    result = left.with_columns(column.alias((prefix or "") + column.name) for column in columns)
    assert result.height == left.height, "a point-in-time join returns the spine's rows"
    return give_back(result, spine)


class _Points(NamedTuple):
    """The spine: its key columns, what to call them, and int64[m] times."""

    key: list[pl.Series]
    names: list[str]
    time: Array


def _streamed(
    points: _Points, table: InMemory | OnDisk, names: Names, values: list[str], rule: Rule
) -> list[pl.Series]:
    """Find the winners in one pass over keys and times, then gather their values in another."""
    with progress("joining", 2 * table.height) as advance:
        winner = _find_winners(points, _told(table.batches(names.used()), advance), table.schema, names, rule)
        if isinstance(table, InMemory) and table.frame.n_chunks() == 1:
            return gather(table.frame.select(values), winner)
        schema = {name: table.schema[name] for name in values}
        return gather_batches(_told(table.batches(values), advance), winner, schema)


def _find_winners(
    points: _Points, batches: Iterator[pl.DataFrame], schema: pl.Schema, names: Names, rule: Rule
) -> Array:
    """Return int64[m], the number of each spine row's feature row, -1 for none."""
    from tinymlops.kernels.streaming import Stream

    coder = Coder(points.key, [schema[name] for name in names.key], points.names)
    one_delay = names.delay.column is None and not rule.by_event
    stream = Stream(
        coder.codes,
        points.time,
        keys=coder.count,
        low=coder.low,
        strict=rule.strict,
        delay=names.delay.micros if one_delay else None,
        created=names.created is not None,
    )
    first = 0
    for batch in batches:
        rows = read_rows(batch, names, rule, first)
        key = [batch[name] for name in names.key]
        for start in range(0, batch.height, _CODED_ROWS):
            codes = coder.number([column.slice(start, _CODED_ROWS) for column in key], first_row=first + start)
            cut = slice(start, start + _CODED_ROWS)
            available = None if rows.available is None else rows.available[cut]
            created = None if rows.created is None else rows.created[cut]
            stream.add(codes, rows.event[cut], available, created)
        first += batch.height
    return stream.winners(rule.ttl)


def _told(batches: Iterator[pl.DataFrame], advance: Callable[[int], None]) -> Iterator[pl.DataFrame]:
    """Pass batches on, and tell of each that is done."""
    for batch in batches:
        yield batch
        advance(batch.height)


def _explained(
    points: _Points, table: InMemory | OnDisk, names: Names, values: list[str], rule: Rule
) -> list[pl.Series]:
    """Find the winners among arranged records, which can say where there is none why; add status and event time."""
    import numpy as np
    import polars as pl

    from tinymlops.kernels.asof import latest, status
    from tinymlops.kernels.records import arrange

    frame = table.frame if isinstance(table, InMemory) else table.scan.collect()
    spine_key, key, keys = encode(points.key, [frame[name] for name in names.key], points.names)
    rows = read_rows(frame, names, rule, 0)
    available = plus(rows.event, names.delay.micros) if rows.available is None else rows.available
    records, order = arrange(_without_null_events(key, rows), rows.event, available, rows.created, None, keys=keys)
    place = latest(records, spine_key, points.time, strict=rule.strict, ttl=rule.ttl)
    winner = np.full(len(points.time), -1, np.int64)
    winner[place >= 0] = order[place[place >= 0]]
    null = np.zeros(len(points.time), np.bool_)
    null[place >= 0] = _all_null(frame.select(values))[winner[place >= 0]]
    why, event = status(records, place, spine_key, points.time, strict=rule.strict, ttl=rule.ttl, value_is_null=null)
    names_of = [status.name for status in Status]
    return [
        *gather(frame.select(values), winner),
        pl.Series("status", names_of, dtype=pl.Enum(names_of)).gather(why),
        pl.Series("event_time", event).set(pl.Series(winner < 0), None).cast(pl.Datetime("us", "UTC")),
    ]


def _all_null(values: pl.DataFrame) -> Array:
    """Return bool[n], whether all values of a row are null."""
    import numpy as np
    import polars as pl

    if not values.width:
        return np.zeros(values.height, np.bool_)
    return values.select(pl.all_horizontal(pl.all().is_null())).to_series().to_numpy()


def _without_null_events(key: Array, rows: Rows) -> Array:
    """Drop rows without an event time: they must not pass for facts that had happened but were not yet known."""
    import numpy as np

    from tinymlops.kernels.records import FOREVER

    return np.where(rows.event == FOREVER, -1, key)


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
