"""Check that the options of a source agree: at the decorator, from the definition alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import msgspec

from tinymlops.errors import DefinitionError, TinyMLOpsError, near
from tinymlops.frames import Ambiguous, DateMeans
from tinymlops.times import parse_duration, parse_zone

if TYPE_CHECKING:
    from tinymlops.features.definitions.specs import SourceSpec

__all__ = [
    "SourceOptions",
    "check_pushed",
    "check_row_wise",
    "check_times",
    "incremental",
    "known_of",
    "local_times",
    "require_plain_names",
]

_LOOKBACK = "1d"


class SourceOptions(NamedTuple):
    """What a source and a transformation can both be given, as the user gave it; see `project.source`."""

    timestamp: str | None
    id: str | None
    created: str | None
    delay: str | timedelta | None
    tz: str | None
    ambiguous: Ambiguous
    date_means: DateMeans | None
    keys: Mapping[str, str] | None
    known: Literal["observed", "latest"] | None

    def fields(self) -> dict[str, Any]:
        """Return them as fields of the source's definition, but for `known`, which the others decide with it.

        Raises:
            DefinitionError: If one has another value than it may.
        """
        return {
            "timestamp": self.timestamp,
            "id": self.id,
            "created": self.created,
            **_delay(self.delay),
            **local_times(self.tz, self.ambiguous, self.date_means),
            "keys": dict(self.keys or {}),
        }


def check_times(name: str, options: SourceOptions, *, static: bool) -> None:
    """Check that a source has times, or that it is static and has none.

    Raises:
        DefinitionError: If not.
    """
    timestamp, _, created, delay, *_ = options
    if static and (timestamp or created or delay):
        raise DefinitionError(f"source {name!r} is static and has times", hint="leave out timestamp, created and delay")
    if not static and not timestamp:
        raise DefinitionError(
            f"source {name!r} has no timestamp",
            hint='name its event-time column, timestamp="at", or say static=True if its rows have no time',
        )


def check_row_wise(name: str, options: SourceOptions, *, inputs: int, max_age: str | timedelta | None) -> None:
    """Check that a row-wise transformation has one input, whose times and id it keeps.

    Raises:
        DefinitionError: If not.
    """
    timestamp, event_id, created, delay, *_ = options
    if inputs != 1 or timestamp or event_id or created or delay or max_age or options.known:
        raise DefinitionError(
            f"row-wise transformation {name!r} must have one input and keep its times and id",
            hint="leave out timestamp, id, created, delay, max_age and known, or row_wise=True",
        )


def _delay(delay: str | timedelta | None) -> dict[str, Any]:
    """Split a delay into microseconds or the name of a column."""
    if delay is None:
        return {}
    if isinstance(delay, str) and delay[:1] not in "+-.0123456789":  # no column's name begins like a number
        return {"delay_column": delay}
    return {"delay": parse_duration(delay, name="delay")}


def incremental(source: SourceSpec, *, cursor: str | None, lookback: str | timedelta | None) -> tuple[str | None, int]:
    """Return how far an incremental read goes back: the cursor column, and microseconds before its greatest value.

    Args:
        source: The source, with all other options.
        cursor: As the user gave it; None for `created`, or else `timestamp`.
        lookback: As the user gave it; None for a day.

    Raises:
        DefinitionError: If the source is not incremental, or its rows have no id.
    """
    if not source.takes_since:
        given = [name for name, value in (("cursor", cursor), ("lookback", lookback)) if value is not None]
        if given:
            raise DefinitionError(
                f"source {source.name!r} has {' and '.join(given)}, and its function does not take `since`",
                hint=f"write def {source.name}(since: datetime | None) -> pl.DataFrame, or leave {given[0]} out",
            )
        return None, 0
    if source.id is None:
        raise DefinitionError(
            f"source {source.name!r} takes `since` and has no id, so rows that are read again could not be recognized",
            hint='name the column that tells its rows apart: id="order_id"',
        )
    column = cursor or source.created or source.timestamp
    if column is None:
        raise DefinitionError(
            f"source {source.name!r} takes `since`, and no option names the column that it is compared with",
            hint='name a column of times: cursor="updated_at"',
        )
    return column, parse_duration(lookback if lookback is not None else _LOOKBACK, name="lookback")


def local_times(tz: str | None, ambiguous: Ambiguous, date_means: DateMeans | None) -> dict[str, Any]:
    """Return how to read times without a zone, and dates, as fields of the source's definition.

    Raises:
        DefinitionError: If there is no such zone, or an option has another value.
    """
    for name, value, choices in (
        ("ambiguous", ambiguous, get_args(Ambiguous)),
        ("date_means", date_means, (None, *get_args(DateMeans))),
    ):
        if value not in choices:
            raise DefinitionError(
                f"{name}={value!r} is not possible",
                hint=f"use {' or '.join(repr(choice) for choice in choices)}",
            )
    return {"tz": parse_zone(tz).key if tz else None, "ambiguous": ambiguous, "date_means": date_means}


def known_of(source: SourceSpec, known: str | None) -> Literal["observed"] | msgspec.UnsetType:
    """Return how a source's rows become known, as a field of its definition: unset except for "observed".

    Args:
        source: The source, with all other options.
        known: As the user gave it; None for "observed" where rows have no created time and can change.

    Raises:
        DefinitionError: If it is not possible for the source's rows.
    """
    usual = source.knowledge  # without the option: "event" where rows have a created time
    can_be_observed = usual == "latest" and source.timestamp is not None and not (source.inputs and source.id is None)
    possible = (usual, "observed") if can_be_observed else (usual,)
    if known is not None and known not in possible:
        reason = {
            "event": "its rows come with the time when each became known",
            "latest": "it has no timestamp" if source.timestamp is None else "its rows are recomputed and have no id",
        }[usual]
        raise DefinitionError(
            f"known={known!r} is not possible for source {source.name!r}: {reason}",
            hint=f"use {' or '.join(map(repr, possible))}, or leave it out",
        )
    return "observed" if can_be_observed and known != "latest" else msgspec.UNSET


def require_plain_names(columns: Iterable[str], where: str, error: type[TinyMLOpsError]) -> None:
    """Check that columns have names that mean nothing else: Polars reads `*` and `^...$` as patterns of names.

    Args:
        columns: Their names.
        where: What has them, for the message.
        error: What is raised if one has not.
    """
    reserved = [name for name in columns if name.startswith("__")]
    if reserved:
        raise error(f"{where} has columns {reserved}", hint="names that begin with __ are ours: rename them")
    patterns = [name for name in columns if name == "*" or (name.startswith("^") and name.endswith("$"))]
    if patterns:
        raise error(
            f"{where} has columns {patterns}", hint="a star, and what stands between ^ and $, are patterns: rename them"
        )


def check_pushed(source: SourceSpec) -> None:
    """Check the options of a source of pushes against its schema.

    Raises:
        DefinitionError: If an option names no column of it, or one of another type.
    """
    where = f"source {source.name!r}"
    if source.created is not None:
        raise DefinitionError(
            f"{where} takes pushes and has created={source.created!r}: a pushed row is known from its commit on",
            hint="leave created out",
        )
    require_plain_names(source.columns, where, DefinitionError)
    if source.columns.get("deleted", "Boolean") != "Boolean":
        raise DefinitionError(
            f"{where} has a column 'deleted' of {source.columns['deleted']}",
            hint="`deleted` marks a row that takes an event back: make it bool, or give it another name",
        )
    options = {"id": source.id, "timestamp": source.timestamp, "delay": source.delay_column}
    for role, column in [*options.items(), *(("keys", column) for column in source.keys.values())]:
        if column is not None and column not in source.columns:
            raise DefinitionError(
                f"the schema of {where} has no column {column!r}, which its {role}= names",
                hint=near(column, source.columns),
            )
    if source.timestamp is not None:
        _check_timestamp(source, source.timestamp, where)


def _check_timestamp(source: SourceSpec, column: str, where: str) -> None:
    dtype = source.columns[column]
    if not dtype.startswith(("Datetime", "Date")):
        raise DefinitionError(
            f"the timestamp {column!r} of {where} is {dtype}, not a time", hint="make it datetime in the schema"
        )
    if "," not in dtype and source.tz is None:
        raise DefinitionError(
            f"the timestamp {column!r} of {where} is {dtype}, which has no time zone",
            hint='make it datetime in the schema (that is UTC), or say tz="America/New_York"',
        )
