"""DuckDB as an engine over frames and files: it stores nothing, and reads nothing outside its directories.

Every statement passes one gate: `stores/_sql.py` lets only known reading parts through. The statement then runs in a
read-only transaction that may open the files it names, in a thread that a time limit or Ctrl-C ends, and its rows are
counted as they arrive.
"""

from __future__ import annotations

import re
from contextlib import ExitStack, closing, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from glob import iglob
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinymlops.errors import AccessError, DataError, DefinitionError, TinyMLOpsError, near
from tinymlops.stores._arrow import as_polars, require_exact_types
from tinymlops.stores._limits import Limits, within
from tinymlops.stores._sql import IS_FILE, SCHEMA, fold, located, parse, same_name
from tinymlops.stores._sql_words import FUNCTIONS, READS_FILES
from tinymlops.stores.marks import Marks
from tinymlops.stores.publish import scratch_directory

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import duckdb
    import polars as pl
    import pyarrow as pa

__all__ = [
    "FUNCTIONS",
    "READS_FILES",
    "SCHEMA",
    "Limits",
    "files_of",
    "first_rows",
    "fold",
    "names_files",
    "query",
    "relation_columns",
    "reusing",
    "table_names",
]

_UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_BATCH = 100_000
"""Rows of a batch; a large one needs the memory of a copy, and each small one costs a call."""
_SMALL_BATCH = 2_048


def query(
    sql: str,
    *,
    tables: Mapping[str, Any] | None = None,
    root: Path,
    data_dirs: Sequence[Path] = (),
    threads: int | None = None,
    tmp: Path | None = None,
    limits: Limits | None = None,
) -> pl.DataFrame:
    """Run one SELECT.

    Args:
        sql: One SELECT. File names must be literals; relative ones mean `root`. Times are UTC.
        tables: Polars frames or Arrow tables that it may name; those of the schema `tinymlops` begin with `tinymlops.`.
            Python variables are not visible.
        root: The directory of `tinymlops.toml`; files in it may be read.
        data_dirs: Other directories whose files may be read; relative ones mean `root`.
        threads: The most threads; by default one per core.
        tmp: The workspace's directory for unfinished files; without it nothing is spilled to disk.
        limits: The limits of the query; by default only the memory.

    Raises:
        DefinitionError: If it is not one SELECT, or names a table, column or function that does not exist, or a table
            with columns that differ only by case.
        AccessError: If it reads outside these directories, or by a function that is not on the list.
        DataError: If the data does not allow it, such as a text that is not a number, or a limit is passed.
    """
    limits = limits or Limits()
    run = _prepared(sql, tables or {}, root, data_dirs, threads, tmp, limits.memory)
    rows, _ = within(limits, lambda: run.rows(limits), stop=run.stop)
    return as_polars(rows).rechunk()  # now, because later it would be in memory beside a copy


def first_rows(
    sql: str, *, tables: Mapping[str, Any], limits: Limits, threads: int | None = None
) -> tuple[pl.DataFrame, bool]:
    """Run one SELECT that reads no file and spills nothing, and end with the rows that come before a limit is passed.

    Args:
        sql: One SELECT.
        tables: As in `query`.
        limits: The time is a limit as in `query`; so are rows and bytes if not one row comes before.
        threads: As in `query`.

    Returns:
        The rows, and whether they are all.

    Raises:
        AccessError: If it names a file.
        DefinitionError: As in `query`.
        DataError: As in `query`.
    """
    if names_files(sql, tables):
        raise AccessError("SQL may not do this: it names a file, and none is read here", hint="name a table")
    run = _prepared(sql, tables, Path("/"), (), threads, None, limits.memory)
    rows, is_whole = within(limits, lambda: run.rows(limits, cut=True), stop=run.stop)
    return as_polars(rows).rechunk(), is_whole


def names_files(sql: str, tables: Iterable[str] = ()) -> bool:
    """Return whether a SELECT names a file, which may not be there.

    Args:
        sql: As in `query`.
        tables: Names that are tables, even if they look like files.

    Raises:
        DefinitionError: If it is not one SELECT.
        AccessError: If it reads by a function that is not on the list.
    """
    with _translated([]):
        return bool(parse(sql, frozenset(tables)).files)


def relation_columns(
    sql: str,
    *,
    tables: Mapping[str, Any] | None = None,
    root: Path,
    data_dirs: Sequence[Path] = (),
    threads: int | None = None,
    tmp: Path | None = None,
    limits: Limits | None = None,
) -> dict[str, pl.DataType]:
    """Return the columns that a SELECT would have, without running it; arguments and errors as in `query`."""
    limits = limits or Limits()
    run = _prepared(sql, tables or {}, root, data_dirs, threads, tmp, limits.memory)
    rows, _ = within(limits, lambda: run.rows(Limits(), none=True), stop=run.stop)
    return dict(as_polars(rows).schema)


def files_of(sql: str, *, root: Path, data_dirs: Sequence[Path] = ()) -> list[str]:
    """Return the files that a SELECT reads now, by name: patterns are expanded as DuckDB does it; missing files are left out.

    Args:
        sql: As in `query`.
        root: As in `query`.
        data_dirs: As in `query`.
    """
    root = root.resolve()
    directories = [root, *((root / directory).resolve() for directory in data_dirs)]
    with _translated(directories):
        named = set(parse(located(parse(sql), root)).files.values())
        patterns = {name for name in named if _before_wildcards(name) != name}
        below = _matching({f"{name}/**/*" for name in named - patterns if Path(name).is_dir()}, directories)
        found = {name for name in named - patterns if _is_below(Path(name), directories) and Path(name).is_file()}
        return sorted(found | _matching(patterns, directories) | set(filter(IS_FILE.search, below)))


def _matching(patterns: Iterable[str], directories: list[Path]) -> set[str]:
    """Return the files that patterns match, as far as a SELECT may read them."""
    readable = [one for one in patterns if _is_below(Path(_directory(_before_wildcards(one))), directories)]
    if not readable:
        return set()
    with closing(_connect(1)) as connection:
        _lock_down(connection, _granted(readable, directories), None)
        rows = [connection.execute("SELECT file FROM glob(?)", [one]).fetchall() for one in readable]
    return {str(file) for part in rows for (file,) in part}


@contextmanager
def reusing() -> Iterator[None]:
    """Run the SELECTs of a block on one locked database after the other, as far as they open no file.

    Each has a connection of its own, which sees no table of another. Making a database and locking it takes much longer
    than a small SELECT. One whose SELECT failed is not used again.
    """
    pool = _Pool()
    before = _POOL.set(pool)
    try:
        yield
    finally:
        _POOL.reset(before)
        pool.close()


def table_names(sql: str) -> set[str]:
    """Return the names of the tables that a SELECT reads, without those of files and of its own parts.

    Those in the schema `tinymlops` have `tinymlops.` before them.

    Raises:
        DefinitionError: If it is not one SELECT.
        AccessError: If it reads by a function that is not on the list.
    """
    with _translated([]):
        return set(parse(sql).tables)


@dataclass(frozen=True)
class _Run:
    """A SELECT that passed the gate, and the locked connection that runs it once."""

    connection: duckdb.DuckDBPyConnection
    select: str
    directories: list[Path]
    memory: int
    """Bytes that DuckDB may use."""
    files: Marks
    opened: ExitStack

    def rows(self, limits: Limits, *, none: bool = False, cut: bool = False) -> tuple[pa.Table, bool]:
        """Run it and close the connection; called by one thread, which may outlive its caller.

        Args:
            limits: Of rows and bytes.
            none: Whether no row is wanted.
            cut: Whether the rows before a limit will do.

        Returns:
            The rows, and whether they are all.
        """
        import pyarrow as pa

        with self.opened, self._unchanged(), _translated(self.directories):
            self.connection.execute("BEGIN TRANSACTION READ ONLY")
            relation = self.connection.sql(self.select)
            require_exact_types(relation.columns, relation.types)
            reader = (relation.limit(0) if none else relation).to_arrow_reader(_SMALL_BATCH if cut else _BATCH)
            names = _unique(reader.schema.names)
            batches: list[pa.RecordBatch] = []
            is_whole = True
            try:
                batches.extend(_limited(reader, limits, self.memory // 2))
            except DataError:  # a limit: DuckDB's errors are translated further out
                if not cut or not batches:
                    raise
                is_whole = False
            return pa.Table.from_batches(batches, schema=reader.schema).rename_columns(names), is_whole

    @contextmanager
    def _unchanged(self) -> Iterator[None]:
        """Report a file that was replaced during the read: DuckDB would read the new one with metadata of the old one."""
        try:
            yield
        except TinyMLOpsError:
            self.files.check()
            raise
        self.files.check(may_grow=lambda path: not path.endswith(".parquet"))

    def stop(self) -> None:
        """Make `rows` raise at any point; without effect before and after."""
        import duckdb

        with suppress(duckdb.Error):  # closed meanwhile
            self.connection.interrupt()


def _prepared(
    sql: str,
    tables: Mapping[str, Any],
    root: Path,
    data_dirs: Sequence[Path],
    threads: int | None,
    tmp: Path | None,
    memory: int | None,
) -> _Run:
    root = root.resolve()
    directories = [root, *((root / directory).resolve() for directory in data_dirs)]
    with ExitStack() as stack, _translated(directories):
        select = parse(located(parse(sql, tables), root), tables)  # the text that was checked is the one that runs
        pool = _POOL.get()
        if pool is None or select.files or any(name.startswith(f"{SCHEMA}.") for name in map(fold, select.tables)):
            spill = stack.enter_context(scratch_directory(tmp)) if tmp is not None else None
            connection = stack.enter_context(closing(_connect(threads)))
            _register(connection, tables, select.tables)
            memory = _lock_down(connection, _granted(select.files.values(), directories), spill, memory)
        else:
            locked = pool.take(threads, tmp, memory)
            stack.push(lambda failed, *_: pool.give_back(locked, sound=failed is None))
            connection, memory = stack.enter_context(closing(locked.connection.cursor())), locked.memory
            _register(connection, tables, select.tables)
        files = Marks(path for name in select.files.values() for path in (name, *iglob(name, recursive=True)))
        return _Run(connection, select.text, directories, memory, files, stack.pop_all())


@dataclass(frozen=True)
class _Locked:
    """A locked database that may open no file, and is in use by one SELECT at most."""

    connection: duckdb.DuckDBPyConnection
    memory: int
    made_for: tuple[int | None, Path | None, int | None]
    opened: ExitStack


@dataclass
class _Pool:
    """The locked databases that are free; a SELECT that was left to run when its time was over keeps its own."""

    free: list[_Locked] = field(default_factory=list)
    closed: bool = False

    def take(self, threads: int | None, tmp: Path | None, memory: int | None) -> _Locked:
        while self.free:
            locked = self.free.pop()
            if locked.made_for == (threads, tmp, memory):
                return locked
            locked.opened.close()
        with ExitStack() as stack:
            spill = stack.enter_context(scratch_directory(tmp)) if tmp is not None else None
            connection = stack.enter_context(closing(_connect(threads)))
            allowed = _lock_down(connection, ([], []), spill, memory)
            return _Locked(connection, allowed, (threads, tmp, memory), stack.pop_all())

    def give_back(self, locked: _Locked, *, sound: bool) -> None:
        """Take a database back; called by the thread of its SELECT."""
        if sound and not self.closed:
            self.free.append(locked)
        else:
            locked.opened.close()

    def close(self) -> None:
        self.closed = True
        while self.free:
            self.free.pop().opened.close()


_POOL: ContextVar[_Pool | None] = ContextVar("_POOL", default=None)


def _register(connection: duckdb.DuckDBPyConnection, tables: Mapping[str, Any], named: Iterable[str]) -> None:
    """Make the tables that a SELECT names.

    Raises:
        DefinitionError: If one does not exist, or two tables or two columns of one differ only by case.
    """
    folded = {fold(name): name for name in tables}
    wanted = {fold(name): name for name in named}
    if (names := same_name(tables)) is not None and fold(names[0]) in wanted:
        raise DefinitionError(
            f"the tables {names[0]!r} and {names[1]!r} differ only by case, which SQL does not tell apart",
            hint="rename one of them, or compute it in a Python function",
        )
    for asked in sorted(wanted):
        if asked not in folded:
            raise DefinitionError(
                f"the SQL is wrong: the table {wanted[asked]} does not exist", hint=near(wanted[asked], tables)
            )
        name = folded[asked]
        table = tables[name]
        if (names := same_name(_columns(table))) is not None:
            raise DefinitionError(
                f"the columns {names[0]!r} and {names[1]!r} of {name} differ only by case, "
                "which SQL does not tell apart",
                hint="rename one of them where the table comes from, or compute it in a Python function",
            )
        _make(connection, name, table)


def _columns(table: Any) -> list[str]:
    return list(getattr(table, "column_names", None) or table.columns)


def _make(connection: duckdb.DuckDBPyConnection, name: str, table: Any) -> None:
    short = name.removeprefix(f"{SCHEMA}.")
    if short == name:
        connection.register(name, table)
        return
    connection.register(f"__{name}", table)  # a name that no SELECT gets past the gate
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
    connection.execute(f"CREATE VIEW {SCHEMA}.{_quoted(short)} AS FROM {_quoted('__' + name)}")


def _granted(files: Iterable[str], directories: list[Path]) -> tuple[list[str], list[str]]:
    """Return the files and the directories that a SELECT which reads these names may open.

    Links are resolved. A pattern opens the directory before its first wildcard.
    """
    paths: list[str] = []
    opened: list[str] = []
    for name in files:
        before = _before_wildcards(name)
        path = Path(name)
        if before != name and _is_below(Path(_directory(before)), directories):
            opened.append(_directory(before))
        if path.is_absolute() and _is_below(path, directories):
            paths.append(name)
            if not path.is_file():  # a directory of files; one that is missing is looked for as such
                opened.append(name)
    return paths, opened


def _before_wildcards(name: str) -> str:
    return re.split(r"[*?\[{]", name, maxsplit=1)[0]


def _directory(path: str) -> str:
    return path.rpartition("/")[0] or "/"


def _is_below(path: Path, directories: list[Path]) -> bool:
    try:
        real = path.resolve()
    except (OSError, RuntimeError):  # a loop of links
        return False
    return path.is_absolute() and any(real.is_relative_to(directory) for directory in directories)


def _unique(names: Sequence[str]) -> list[str]:
    """Make the names of a result unique as DuckDB does: a, a_1, a_2."""
    counts: dict[str, int] = {}
    found = []
    for name in names:
        unique = name
        while fold(unique) in counts:
            unique = f"{name}_{counts[fold(name)]}"
            counts[fold(name)] += 1
        counts[fold(unique)] = 1
        found.append(unique)
    return found


def _limited(batches: Iterable[pa.RecordBatch], limits: Limits, most: int) -> Iterator[pa.RecordBatch]:
    """Yield the batches until a limit is passed.

    Raises:
        DataError: If a limit is passed.
    """
    rows = size = 0
    most = min(most, limits.bytes or most)
    for batch in batches:
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if limits.rows is not None and rows > limits.rows:
            raise DataError(
                f"the SQL gives more than {limits.rows:,} rows",
                hint="add a LIMIT or a WHERE, or set max_rows",
            )
        if size > most:
            raise DataError(
                f"the SQL's result needs more than {most / 2**20:,.0f} MiB of memory after {rows:,} rows",
                hint="select fewer columns or rows, or aggregate",
            )
        yield batch


def _connect(threads: int | None) -> duckdb.DuckDBPyConnection:
    import duckdb

    settings: dict[str, str | bool | int | float | list[str]] = {
        # Otherwise a query could name any Polars frame in our callers' variables.
        "python_enable_replacements": False,
        "python_scan_all_frames": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    if threads is not None:
        settings["threads"] = threads
    return duckdb.connect(":memory:", config=settings)


def _lock_down(
    connection: duckdb.DuckDBPyConnection,
    granted: tuple[list[str], list[str]],
    spill: Path | None,
    memory: int | None = None,
) -> int:
    """Let a connection open only the granted files and directories, for good; return its memory in bytes."""
    paths, directories = (", ".join(map(_text, names)) for names in granted)
    if memory is None:
        memory = _memory_limit(connection)
    for setting in (
        "GLOBAL TimeZone = 'UTC'",  # also that of further connections
        f"memory_limit = '{memory}B'",
        f"temp_directory = {_text(spill or '')}",
        f"allowed_paths = [{paths}]",
        f"allowed_directories = [{directories}]",
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        connection.execute(f"SET {setting}").fetchall()
    return memory


def _memory_limit(connection: duckdb.DuckDBPyConnection) -> int:
    """Return half of the memory: DuckDB's default is 0.8 of the machine's or container's, and Polars needs some."""
    ((default,),) = connection.execute("SELECT current_setting('memory_limit')").fetchall()
    amount, unit = str(default).split()
    return int(float(amount) * _UNITS[unit] * 0.625)


def _text(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def _translated(directories: list[Path]) -> Iterator[None]:
    """Raise DuckDB's errors as ours, including those that its stream of rows raises through Arrow."""
    import duckdb
    import pyarrow as pa

    try:
        yield
    except (duckdb.Error, pa.ArrowException, OSError, RuntimeError) as error:
        found = _KIND.match(str(error))
        if found is None and not isinstance(error, duckdb.Error):
            raise
        raise _explained(
            found["kind"] if found else "", str(error)[found.end() if found else 0 :], directories
        ) from error


_KIND = re.compile(r"\s*(?P<kind>[A-Za-z]+( [A-Za-z]+){0,3}) Error: ")
_WRONG = {"Catalog", "Binder", "Parser", "Syntax"}
_CANNOT_RUN = {"Not implemented", "Invalid Input", "Missing Extension", "TransactionContext", "Parameter Not Allowed"}


def _explained(kind: str, message: str, directories: list[Path]) -> TinyMLOpsError:
    """Turn an error of DuckDB into one of ours; the kind is the first word of its message."""
    message = message.strip()
    if kind == "Permission":
        return AccessError(
            f"SQL may not do this: {message}",
            hint="it reads files below "
            + ", ".join(map(str, directories))
            + "; name others in data_dirs, and write file names as literals",
        )
    if kind == "Out of Memory":
        return DataError(f"the SQL needs too much memory: {message}", hint="select fewer columns or rows")
    if kind in _WRONG:
        return DefinitionError(f"the SQL is wrong: {message}", hint="correct the SELECT")
    if kind in _CANNOT_RUN:
        return DefinitionError(f"the SQL cannot be run: {message}", hint="correct the SELECT")
    if kind == "IO":
        return DataError(f"a file cannot be read: {message}", hint=f"relative file names are found in {directories[0]}")
    return DataError(f"the SQL failed on its data: {message}", hint="correct the rows or cast in the SELECT")
