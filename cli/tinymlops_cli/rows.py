"""Rows from the command line: JSON, `key=value` pairs, or a file."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tinymlops.errors import DataError, NotFoundError
from tinymlops.presence import require_whole_lines
from tinymlops_cli.failures import UsageError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["is_table", "parse_rows", "read_file", "rows_from", "split_names"]

Row = dict[str, Any]

_EXAMPLE = """write '{"origin": "EWR"}' or origin=EWR"""
_FILES = (".json", ".jsonl", ".ndjson", ".csv", ".parquet")


def rows_from(
    arguments: Sequence[str] | None, file: Path | None, text: Collection[str] = ()
) -> list[Row] | pl.DataFrame:
    """Return the rows of the arguments, or those of a file.

    Args:
        arguments: JSON, or `key=value` pairs.
        file: A file of rows.
        text: The columns of a CSV file that are text, whatever they look like.

    Raises:
        UsageError: If there are both or neither.
    """
    if bool(arguments) == (file is not None):
        given = "both rows and --input" if arguments else "no rows"
        raise UsageError(f"there are {given}", hint=f"{_EXAMPLE}, or use --input FILE")
    return parse_rows(arguments or []) if file is None else read_file(file, text)


def parse_rows(arguments: Sequence[str]) -> list[Row]:
    """Read arguments: each JSON object is a row, each JSON array holds rows, and all `key=value` pairs are one row.

    A value that is JSON is read as JSON (`7`, `true`, `null`, `"7"`); any other value is text.

    Raises:
        DataError: If one is neither.

    Example:
        >>> parse_rows(["customer=7", "country=AT"])
        [{'customer': 7, 'country': 'AT'}]
    """
    rows: list[Row] = []
    pairs: Row = {}
    for argument in arguments:
        if argument.lstrip().startswith(("{", "[")):
            rows += _objects(_decoded(argument.encode(), repr(argument)), repr(argument))
            continue
        name, equals, value = argument.partition("=")
        if not equals or not name:
            raise DataError(f"{argument!r} is not a row", hint=_EXAMPLE)
        if name in pairs:
            raise DataError(f"{name!r} is given twice", hint="write several rows as JSON objects")
        pairs[name] = _scalar(value)
    return [*rows, pairs] if pairs else rows


def read_file(path: Path, text: Collection[str] = ()) -> list[Row] | pl.DataFrame:
    """Read the rows of a JSON, JSON Lines, CSV or Parquet file, by its suffix; `text` is that of `rows_from`.

    Raises:
        NotFoundError: If there is no such file.
        DataError: If it cannot be read, or is of another kind.
    """
    if not path.is_file():
        raise NotFoundError(f"there is no file {path}")
    kind = path.suffix.lower()
    if kind == ".json":
        return _objects(_decoded(path.read_bytes(), str(path)), str(path))
    if kind in (".jsonl", ".ndjson"):
        lines = [line for line in path.read_bytes().splitlines() if line.strip()]
        return [row for line in lines for row in _objects(_decoded(line, str(path)), str(path))]
    if is_table(path):
        return _read_table(path, text)
    raise DataError(f"{path} is not one of {', '.join(_FILES)}", hint="give the file the suffix of its format")


def is_table(path: Path | None) -> bool:
    """Return whether a file is a table by its suffix; Polars reads these."""
    return path is not None and path.suffix.lower() in (".csv", ".parquet")


def split_names(text: str) -> list[str]:
    """Split "sky,carrier_delays:mean_1h" into its names.

    Raises:
        UsageError: If there is no name.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError("no feature is named", hint="write views or view:feature, joined by commas")
    return names


def _read_table(path: Path, text: Collection[str]) -> pl.DataFrame:
    import polars as pl

    from tinymlops.table_files import read_csv

    try:
        if path.suffix.lower() == ".csv":
            table = read_csv(path, text)
            require_whole_lines(path, table)
            return table
        return pl.read_parquet(path, glob=False, hive_partitioning=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path} cannot be read: {error}", hint="rewrite it as Parquet") from error


def _decoded(content: bytes, where: str) -> Any:  # parsed JSON
    try:
        return msgspec.json.decode(content)
    except msgspec.DecodeError as error:
        raise DataError(f"{where} is not JSON: {error}", hint=_EXAMPLE) from error


def _objects(value: Any, where: str) -> list[Row]:
    rows = value if isinstance(value, list) else [value]
    for row in rows:
        if not isinstance(row, dict):
            raise DataError(f"{where} holds {row!r}, which is not a row", hint=_EXAMPLE)
    return rows


def _scalar(text: str) -> object:
    try:
        value: object = msgspec.json.decode(text.encode())
    except (msgspec.DecodeError, UnicodeEncodeError):
        return text
    return value
