"""Twenty small point-in-time joins that some tool gets wrong, each with the right answer.

Read by peers in other environments, so nothing here imports tinymlops.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from peers import DAY_MICROS, Task

REFUSED = "refused"
"""The right answer to a question that has none: an error."""

UTC_TIME = pl.Datetime("us", "UTC")
NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)
TWO_DAYS = 2 * DAY_MICROS


@dataclass(frozen=True)
class Case:
    """Two tables and a question.

    Args:
        name: The name of its line in the docs' table.
        why: What is right, in one sentence.
        spine: Keys and `at`; `row` is added.
        records: Keys, `at`, `x` and what the options need.
        right: `x` of each spine row in their order, or `REFUSED`.
        options: The options of the `Task`.
    """

    name: str
    why: str
    spine: dict[str, Any]
    records: dict[str, Any]
    right: Any
    options: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> Task:
        """Write the tables and return the task."""
        folder.mkdir(parents=True)
        pl.DataFrame(self.spine).with_row_index("row").write_parquet(folder / "spine.parquet")
        pl.DataFrame(self.records).write_parquet(folder / "records.parquet")
        return Task(str(folder), **self.options)


def at(*hours: float | None) -> pl.Series:
    """Return the times this many hours after noon, to the microsecond."""
    return pl.Series([None if hour is None else NOON + timedelta(hours=hour) for hour in hours], dtype=UTC_TIME)


def naive(*hours: float) -> pl.Series:
    return at(*hours).dt.replace_time_zone(None)


def elsewhere(*hours: float) -> pl.Series:
    """The same moments on clocks that are five and a half hours ahead."""
    return at(*hours).dt.convert_time_zone("Asia/Kolkata")


def nanoseconds(*after: int) -> pl.Series:
    noon = int(NOON.timestamp()) * 10**9
    return pl.Series([noon + one for one in after]).cast(pl.Datetime("ns", "UTC"))


MICROSECOND = 1 / 3.6e9
"""In hours."""

CASES = [
    Case(
        "two records at one moment",
        "the later row wins, each time",
        {"id": [1], "at": at(1)},
        {"id": [1, 1], "at": at(0, 0), "x": [1.0, 2.0]},
        [2.0],
    ),
    Case(
        "two records at one moment, created apart",
        "the one created last wins, wherever it stands in the table",
        {"id": [1, 2], "at": at(5, 5)},
        {"id": [1, 1, 2, 2], "at": at(0, 0, 0, 0), "created": at(2, 1, 1, 2), "x": [2.0, 1.0, 1.0, 2.0]},
        [2.0, 2.0],
        {"created": True},
    ),
    Case(
        "the same spine row twice",
        "both rows come back",
        {"id": [1, 1], "at": at(1, 1)},
        {"id": [1], "at": at(0), "x": [1.0]},
        [1.0, 1.0],
    ),
    Case(
        'keys ("1", "23") and ("12", "3")',
        "they are different keys",
        {"a": ["1", "12"], "b": ["23", "3"], "at": at(1, 1)},
        {"a": ["12", "1"], "b": ["3", "23"], "at": at(0, 0), "x": [2.0, 1.0]},
        [1.0, 2.0],
        {"keys": ("a", "b")},
    ),
    Case(
        "exactly as old as the ttl",
        "still a match",
        {"id": [1], "at": at(48)},
        {"id": [1], "at": at(0), "x": [1.0]},
        [1.0],
        {"ttl": TWO_DAYS},
    ),
    Case(
        "one microsecond older than the ttl",
        "null, and the row stays",
        {"id": [1, 1], "at": at(48 + MICROSECOND, 1)},
        {"id": [1], "at": at(0), "x": [1.0]},
        [None, 1.0],
        {"ttl": TWO_DAYS},
    ),
    Case(
        "tables in no order",
        "the order of rows means nothing",
        {"id": [1, 1, 2], "at": at(3, 1, 2)},
        {"id": [1, 2, 1, 1], "at": at(2, 1, 0, 4), "x": [2.0, 9.0, 1.0, 3.0]},
        [2.0, 1.0, 9.0],
        {"unsorted": True},
    ),
    Case(
        "a null key on both sides",
        "matches nothing, and the row stays",
        {"id": pl.Series([None, 1], dtype=pl.Int64), "at": at(1, 1)},
        {"id": pl.Series([None, 1], dtype=pl.Int64), "at": at(0, 0), "x": [9.0, 1.0]},
        [None, 1.0],
    ),
    Case(
        "a NaN key on both sides, as pandas makes of a null",
        "matches nothing, and the row stays",
        {"id": [float("nan"), 1.0], "at": at(1, 1)},
        {"id": [float("nan"), 1.0], "at": at(0, 0), "x": [9.0, 1.0]},
        [None, 1.0],
    ),
    Case(
        "a record without a time",
        "is never known",
        {"id": [1, 2], "at": at(1, 1)},
        {"id": [1, 1, 2], "at": at(None, 0, None), "x": [9.0, 1.0, 9.0]},
        [1.0, None],
    ),
    Case(
        "the newest value is null",
        "null: the older value is no longer true",
        {"id": [1], "at": at(2)},
        {"id": [1, 1], "at": at(0, 1), "x": [1.0, None]},
        [None],
    ),
    Case(
        "a correction that came after the spine row",
        "what was known then: the value before it",
        {"id": [1, 1], "at": at(1, 6)},
        {"id": [1, 1], "at": at(0, 0), "created": at(0, 5), "x": [1.0, 2.0]},
        [1.0, 2.0],
        {"created": True},
    ),
    Case(
        "an event that was taken back",
        "the event before it",
        {"id": [1], "at": at(4)},
        {
            "id": [1, 1, 1], "event": [1, 2, 2], "at": at(0, 1, 1), "created": at(0, 1, 2), "x": [1.0, 2.0, None],
            "deleted": [False, False, True],
        },
        [1.0],
        {"created": True, "deletes": True},
    ),
    Case(
        "clocks of two zones",
        "moments are compared, not what clocks show",
        {"id": [1, 1], "at": elsewhere(1, 3)},
        {"id": [1, 1], "at": at(0, 2), "x": [1.0, 2.0]},
        [1.0, 2.0],
    ),
    Case(
        "times without a zone against times with one",
        "an error: nobody said which zone",
        {"id": [1], "at": at(1)},
        {"id": [1], "at": naive(0), "x": [1.0]},
        REFUSED,
    ),
    Case(
        "known one nanosecond after the spine row",
        "not yet known",
        {"id": [1], "at": at(0)},
        {"id": [1, 1], "at": nanoseconds(-1000, 1), "x": [1.0, 9.0]},
        [1.0],
    ),
    Case(
        "a record with a date, a spine row at noon of that day",
        "a day's figure is known when the day is over",
        {"id": [1], "at": at(0)},
        {"id": [1, 1], "at": [date(2024, 2, 29), date(2024, 3, 1)], "x": [1.0, 9.0]},
        [1.0],
        {"tz": "UTC"},
    ),
    Case(
        "integer keys against text",
        "an error, not a column of nulls",
        {"id": [1], "at": at(1)},
        {"id": ["1"], "at": at(0), "x": [1.0]},
        REFUSED,
    ),
    Case(
        "no records at all",
        "nulls, and every row stays",
        {"id": [1, 2], "at": at(1, 1)},
        {"id": pl.Series([], dtype=pl.Int64), "at": at(), "x": pl.Series([], dtype=pl.Float64)},
        [None, None],
    ),
    Case(
        "a record of the very moment, asked for what was known before",
        "the one before it",
        {"id": [1, 1], "at": at(2, 0)},
        {"id": [1, 1], "at": at(0, 2), "x": [1.0, 9.0]},
        [1.0, None],
        {"strict": True},
    ),
]  # fmt: skip
