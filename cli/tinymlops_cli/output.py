"""The output of a command: data for `--json`, and text or tables for people."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
import typer

from tinymlops.errors import DataError
from tinymlops.printable import printable, printable_json
from tinymlops.tables import text_table

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

__all__ = ["Answer", "Table", "head_of", "show", "show_table", "write_frame"]

_SHOWN = 50
"""The most rows of a table that are shown; JSON and files have them all."""


@dataclass(frozen=True)
class Table:
    """Rows under column names; a cell may hold anything.

    Args:
        columns: Their names; all empty for a table without a head.
        rows: Each with one cell for each column.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, object]]) -> Table:
        """Make a table of dicts that have the same keys."""
        return cls(list(rows[0]) if rows else [], [list(row.values()) for row in rows])


@dataclass(frozen=True)
class Answer:
    """The outcome of a command.

    Args:
        data: What `--json` prints, as msgspec encodes it.
        view: The text or tables for people.
        code: The exit code.
    """

    data: object
    view: Sequence[str | Table]
    code: int = 0


def show(answer: Answer, *, as_json: bool) -> None:
    """Print an answer: one JSON document, or tables in a terminal, or plain columns in a pipe."""
    if as_json:
        typer.echo(printable_json(msgspec.json.encode(answer.data, enc_hook=str).decode()))
        return
    for part in answer.view:
        if isinstance(part, str):
            typer.echo(printable(part))
        else:
            show_table(part)


def show_table(table: Table, *, err: bool = False) -> None:
    """Draw a table in a terminal, or write plain columns into a pipe.

    Args:
        table: Its values may come from anywhere: control characters are written out.
        err: Whether to print to standard error.
    """
    if (sys.stderr if err else sys.stdout).isatty():
        _draw(table, err=err)
    else:
        _write_plainly(table, err=err)


def head_of(frame: pl.DataFrame) -> list[str | Table]:
    """Return the first rows of a frame for people."""
    view: list[str | Table] = [Table(frame.columns, frame.head(_SHOWN).rows())]
    if frame.height > _SHOWN:
        view.append(f"... and {frame.height - _SHOWN:,} more rows; --json or --output has them all")
    return view


def write_frame(frame: pl.DataFrame, output: Path) -> None:
    """Write a Parquet or CSV file, by its suffix, complete or not at all.

    Raises:
        DataError: If it cannot be written.
    """
    from tinymlops.table_files import table_writer

    unfinished = output.with_name(f".{output.name}.part")
    try:
        with unfinished.open("wb") as file:
            writer = table_writer(output, file)
            writer.write(frame)
            writer.close()
        unfinished.replace(output)
    except OSError as error:
        raise DataError(
            f"{output} cannot be written: {error}", hint="name a file in a directory that exists"
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)


def _draw(table: Table, *, err: bool) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as Drawn
    from rich.text import Text

    drawn = Drawn(box=box.SIMPLE_HEAD, pad_edge=False, show_header=any(table.columns))
    for i, column in enumerate(table.columns):
        numeric = all(isinstance(row[i], int | float) for row in table.rows)
        drawn.add_column(Text(_cell(column)), justify="right" if numeric else "left", overflow="fold")
    for row in table.rows:
        # As text: a name may hold rich markup.
        drawn.add_row(*(Text(_cell(value)) for value in row))
    Console(stderr=err).print(drawn)


def _write_plainly(table: Table, *, err: bool) -> None:
    lines = [[_cell(value) for value in row] for row in table.rows]
    if any(table.columns):
        lines.insert(0, [_cell(column) for column in table.columns])
    if lines:
        typer.echo(text_table(lines), err=err)


def _cell(value: Any) -> str:  # a cell of any type
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.6g}"
        case datetime():
            return value.isoformat(sep=" ", timespec="seconds").replace("+00:00", "Z")
        case dict():
            return _joined(f"{_cell(name)}={_cell(one)}" for name, one in value.items())
        case list() | tuple():
            return _joined(map(_cell, value))
        case _:
            return printable(str(value), line=True)


def _joined(parts: Iterable[str]) -> str:
    return ", ".join(parts)
