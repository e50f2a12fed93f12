"""DuckDB as an engine over frames and files: nothing of it is stored, nothing outside its directories is read."""

from __future__ import annotations

import re
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from tinymlops.errors import AccessError, DataError, DefinitionError, TinyMLOpsError
from tinymlops.stores._arrow import as_polars, require_exact_types
from tinymlops.stores._sql import located, named_tables, one_select
from tinymlops.stores.publish import scratch_directory

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import duckdb
    import polars as pl

__all__ = ["query", "relation_columns", "table_names"]

_UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


def query(
    sql: str,
    *,
    tables: Mapping[str, Any] | None = None,
    root: Path,
    data_dirs: Sequence[Path] = (),
    threads: int | None = None,
    tmp: Path | None = None,
) -> pl.DataFrame:
    """Run one SELECT.

    Args:
        sql: One SELECT. File names must be literals; relative ones mean `root`. Times are UTC.
        tables: Polars frames or Arrow tables that it may name. Python variables are not seen.
        root: The directory of `tinymlops.toml`; files in it may be read.
        data_dirs: Other directories whose files may be read; relative ones mean `root`.
        threads: At most so many; by default one per core.
        tmp: The workspace's directory for unfinished files; without it nothing is spilled to disk.

    Raises:
        DefinitionError: If it is not one SELECT, or names a table, column or function that does not exist.
        AccessError: If it reads outside these directories.
        DataError: If the data does not allow it, such as a text that is no number.
    """
    with _relation(sql, tables or {}, root, data_dirs, threads, tmp) as relation:
        return as_polars(relation.to_arrow_table()).rechunk()  # now, for later it would be beside a copy of it


def relation_columns(
    sql: str,
    *,
    tables: Mapping[str, Any] | None = None,
    root: Path,
    data_dirs: Sequence[Path] = (),
    threads: int | None = None,
    tmp: Path | None = None,
) -> dict[str, pl.DataType]:
    """Return the columns that a SELECT would have, without running it; arguments and errors as in `query`."""
    with _relation(sql, tables or {}, root, data_dirs, threads, tmp) as relation:
        return dict(as_polars(relation.limit(0).to_arrow_table()).schema)


def table_names(sql: str) -> set[str]:
    """Return the names that stand in a SELECT where a table may, those of files and of its own parts included.

    Raises:
        DefinitionError: If it is not one SELECT.
    """
    with _translated([]), _connect(1) as connection:
        return named_tables(connection, one_select(connection, sql))


@contextmanager
def _relation(
    sql: str,
    tables: Mapping[str, Any],
    root: Path,
    data_dirs: Sequence[Path],
    threads: int | None,
    tmp: Path | None,
) -> Iterator[duckdb.DuckDBPyRelation]:
    root = root.resolve()
    directories = [root, *((root / directory).resolve() for directory in data_dirs)]
    with ExitStack() as stack:
        spill = stack.enter_context(scratch_directory(tmp)) if tmp is not None else None
        stack.enter_context(_translated(directories))
        connection = stack.enter_context(_connect(threads))
        select = located(connection, one_select(connection, sql), root=root, tables=tables)
        for name, table in tables.items():
            connection.register(name, table)
        _lock_down(connection, directories, spill)
        relation = connection.sql(select)
        require_exact_types(relation.columns, relation.types)
        yield relation


def _connect(threads: int | None) -> duckdb.DuckDBPyConnection:
    import duckdb

    settings: dict[str, str | bool | int | float | list[str]] = {
        # Else a query could name any Polars frame in our callers' variables.
        "python_enable_replacements": False,
        "python_scan_all_frames": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    if threads is not None:
        settings["threads"] = threads
    return duckdb.connect(":memory:", config=settings)


def _lock_down(connection: duckdb.DuckDBPyConnection, directories: list[Path], spill: Path | None) -> None:
    allowed = ", ".join(_text(directory) for directory in directories)
    for setting in (
        "TimeZone = 'UTC'",
        f"memory_limit = '{_memory_limit(connection)}B'",
        f"temp_directory = {_text(spill or '')}",
        f"allowed_directories = [{allowed}]",
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        connection.execute(f"SET {setting}").fetchall()


def _memory_limit(connection: duckdb.DuckDBPyConnection) -> int:
    """Half of the memory: DuckDB's default is 0.8 of what the machine or container has, and Polars needs some."""
    ((default,),) = connection.execute("SELECT current_setting('memory_limit')").fetchall()
    amount, unit = str(default).split()
    return int(float(amount) * _UNITS[unit] * 0.625)


def _text(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"


@contextmanager
def _translated(directories: list[Path]) -> Iterator[None]:
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        raise _explained(error, directories) from error


def _explained(error: duckdb.Error, directories: list[Path]) -> TinyMLOpsError:
    import duckdb

    message = re.sub(r"^\w+( \w+)? Error: ", "", str(error)).strip()
    if isinstance(error, duckdb.PermissionException):
        return AccessError(
            f"SQL may not do this: {message}",
            hint="it reads files below "
            + ", ".join(map(str, directories))
            + "; name others in data_dirs, and write file names as literals",
        )
    if isinstance(error, duckdb.OutOfMemoryException):
        return DataError(f"the SQL needs too much memory: {message}", hint="select fewer columns or rows")
    if isinstance(error, duckdb.CatalogException | duckdb.BinderException | duckdb.ParserException):
        return DefinitionError(f"the SQL is wrong: {message}", hint="correct the SELECT")
    if isinstance(error, duckdb.NotSupportedError | duckdb.InvalidInputException):
        return DefinitionError(f"the SQL cannot be run: {message}", hint="correct the SELECT")
    if isinstance(error, duckdb.IOException):
        return DataError(f"a file cannot be read: {message}", hint=f"relative file names are found in {directories[0]}")
    return DataError(f"the SQL failed on its data: {message}", hint="correct the rows or cast in the SELECT")
