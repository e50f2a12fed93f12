"""Find the columns that each row has: a dict or a line of CSV may lack a column, where a frame would show null."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tinymlops.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

__all__ = ["absent_columns", "require_whole_lines", "row_shapes"]


def row_shapes(rows: Any) -> list[tuple[int, frozenset[str]]]:
    """Return every set of columns that rows have, with the first row that has it.

    Args:
        rows: Anything; only rows that are dicts can differ.

    Returns:
        Row number and columns, in order; empty where all rows have the same, as those of a table have.

    Example:
        >>> [row for row, _ in row_shapes([{"user": 1}, {"user": 2}, {"usr": 3}])]
        [0, 2]
    """
    if not isinstance(rows, list | tuple) or len(rows) < 2 or not all(isinstance(row, Mapping) for row in rows):
        return []
    first = rows[0].keys()
    if all(row.keys() == first for row in rows):
        return []
    shapes: dict[frozenset[str], int] = {}
    for number, row in enumerate(rows):
        shapes.setdefault(frozenset(row), number)
    return [(number, columns) for columns, number in shapes.items()]


def absent_columns(rows: Any) -> dict[str, int]:
    """Return each column that some rows have and others lack, with the first row that lacks it.

    Example:
        >>> absent_columns([{"user": 1, "note": "a"}, {"user": 2}])
        {'note': 1}
    """
    shapes = row_shapes(rows)
    every = frozenset[str]().union(*(columns for _, columns in shapes))
    absent: dict[str, int] = {}
    for number, columns in shapes:
        for name in every - columns:
            absent.setdefault(name, number)
    return absent


def require_whole_lines(path: Path, frame: pl.DataFrame) -> None:
    """Refuse a line of a CSV file that has fewer fields than the header, or none: it was read as nulls.

    Args:
        path: The file.
        frame: The rows read from it; if its last column has no null, every line is complete.

    Raises:
        DataError: If there is such a line, with its number.
    """
    if frame.width < 2 or not frame.to_series(-1).null_count():
        return
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        lines = csv.reader(file)
        try:
            width = len(next(lines))
            short = next((line for line in lines if len(line) < width), None)
        except csv.Error:  # it limits a field's length, and Polars does not
            return
    if short is not None:
        raise DataError(
            f"{path}, line {lines.line_num}: {len(short)} fields, and the header has {width}",
            hint="write every field; leave it empty where the value is not known",
        )
