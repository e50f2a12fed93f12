"""What is asked of the process of a query, and what it answers."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from tinymlops.times import format_duration

__all__ = [
    "MEMORY_SHARE",
    "Bounds",
    "Chart",
    "ChartAsked",
    "Column",
    "Done",
    "File",
    "Form",
    "Place",
    "Question",
    "Refused",
    "Reply",
    "Shown",
    "too_large",
    "too_slow",
]

MEMORY_SHARE = 2
"""DuckDB has such a part of a query's memory; the rest is for the tables that it reads, and for the result."""
Form = Literal["page", "csv", "parquet"]
"""What is made of the rows."""


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What a query may take."""

    seconds: float
    """From the question to the answer; then it is killed."""
    memory: int
    """Bytes beyond what the process has before it reads a row."""
    rows: int
    bytes: int
    """Of the result in memory, and of a file."""
    shown: int = 200
    """Rows of a page."""
    cells: int = 10_000
    """Of a page: of a wide table fewer rows are shown, and at last fewer columns."""
    columns: int = 200
    characters: int = 300
    """Of a cell."""
    points: int = 2_000
    """Of a line."""
    bars: int = 60


class ChartAsked(msgspec.Struct, frozen=True):
    """A picture of a result."""

    kind: Literal["line", "bar"]
    x: str
    """A column; "" for the first that will do."""
    y: str
    """A column of numbers; "" for the first other one."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One query."""

    workspace: str
    """Its directory."""
    root: str
    """The project's directory."""
    text: str
    """The SELECT."""
    bounds: Bounds
    form: Form = "page"
    chart: ChartAsked | None = None
    hidden: tuple[str, ...] = ()
    """Tables of the schema `tinymlops` that are as if they did not exist."""
    now: int | None = None
    """Microseconds in UTC; None for the machine's clock."""


class Place(msgspec.Struct, frozen=True):
    """Where in a query something is wrong."""

    line: int
    """From 1."""
    column: int
    """From 1, in characters."""
    text: str
    """The line, or the part of a long one."""
    offset: int
    """Of the column in `text`, from 0."""
    length: int = 1
    """Of the word there."""


class Column(msgspec.Struct, frozen=True):
    """A column of a result."""

    name: str
    type: str
    is_number: bool


class Chart(msgspec.Struct, frozen=True):
    """Points of a line, or bars."""

    kind: Literal["line", "bar"]
    x: str
    y: str
    ys: list[float]
    xs: list[float] = []
    """Of a line; of times in seconds since 1970."""
    labels: list[str] = []
    """Of bars."""
    is_time: bool = False
    total: int = 0
    """Rows that have both values."""
    skipped: int = 0
    """Rows that lack one, or whose value is not finite."""


class Shown(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The first rows of a result."""

    columns: list[Column]
    """The first ones, as many as there are cells for."""
    width: int
    """Of all columns."""
    rows: list[list[str | None]]
    count: int
    """Rows that were read."""
    is_whole: bool
    """Whether they are all."""
    names: list[Column]
    """Columns that a picture may be of."""
    sequence: int
    """Of the last change that its tables know of."""
    seconds: float
    chart: Chart | None = None
    no_chart: str = ""
    """Why there is no picture, where one was asked for."""


class File(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A result as a file, whose bytes follow."""

    rows: int
    bytes: int


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Why there is no result."""

    kind: str
    """The class of the error, or "" for a defect."""
    message: str
    hint: str = ""
    place: Place | None = None


Reply: TypeAlias = Shown | File | Refused


class Done(msgspec.Struct, frozen=True):
    """A reply, with the bytes of its file."""

    reply: Reply
    content: bytes = b""


def too_slow(question: Question) -> Refused:
    """Say that a query took too long."""
    limit = format_duration(int(question.bounds.seconds * 1e6))
    hint = "read fewer rows, or aggregate; `ws.sql` in a notebook has more time"
    return Refused(kind="DataError", message=f"the query was stopped after {limit}", hint=hint)


def too_large(question: Question) -> Refused:
    """Say that a query took too much memory."""
    limit = f"{question.bounds.memory // MEMORY_SHARE / 2**20:,.0f} MiB"
    return Refused(
        kind="DataError",
        message=f"the query needs more than {limit} of memory",
        hint="read fewer rows or columns, or aggregate",
    )
