"""The input columns that each output column of one SELECT comes from.

sqlglot parses the text. The walk over its tree finds for each expression the columns that it is computed from (DIRECT),
and for each query the columns that decide which rows there are and in which order (INDIRECT): those of WHERE, joins,
EXISTS, correlation, GROUP BY, HAVING, QUALIFY, DISTINCT, ORDER BY, PIVOT and windows. What is not understood is not
guessed: then every output depends on every column of every input, and `unread` says why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from tinymlops.features.definitions.sql_scopes import (
    EVERY,
    NOTHING,
    Dependency,
    Item,
    NotReadError,
    Relation,
    Rest,
    Value,
    stem_of,
)
from tinymlops.stores.engine import fold

__all__ = ["SqlColumns", "read_columns"]

_KEPT = 4_096
"""Queries whose columns are remembered."""


@dataclass(frozen=True)
class SqlColumns:
    """What the columns of a query come from."""

    columns: Mapping[str, Value]
    """Output column to what it alone depends on."""
    rows: Value
    """What every output column depends on besides, for it decides which rows there are: all INDIRECT."""
    rest: tuple[Rest, ...]
    """Inputs of unknown columns, which pass through."""
    tables: tuple[str, ...]
    """The inputs that it reads, files by name, each once."""
    files: frozenset[str]
    """Those that are files."""
    unread: str = ""
    """Why it is not understood: every output column depends on every column of every input."""

    def of(self, column: str) -> list[Dependency]:
        """Return what an output column depends on, in order.

        Args:
            column: Its name, in any case.

        Raises:
            KeyError: If there is no such column.

        Example:
            >>> for one in read_columns("select a + b as c from t where d", {"t": "abcd"}).of("c"): print(*one)
            t a DIRECT transformation
            t b DIRECT transformation
            t d INDIRECT filter
        """
        if self.unread:
            return [Dependency(table, EVERY, "DIRECT", "opaque") for table in self.tables]
        known = {fold(name): value for name, value in self.columns.items()}
        value = known.get(fold(column)) or Relation([*self.columns.items(), *self.rest]).column(column)
        if value is None:
            raise KeyError(column)
        return _ordered(value | self.rows)


def read_columns(
    sql: str, inputs: Mapping[str, Collection[str] | None], outputs: Sequence[str] | None = None
) -> SqlColumns:
    """Find what each output column of a query depends on.

    Args:
        sql: One SELECT in DuckDB's dialect.
        inputs: The tables that it may name, each with its columns in order; None where they are not known. A file is an
            input by its name.
        outputs: The names that its columns have, in order, where DuckDB has said them: they settle how unnamed
            expressions are called, and which columns of a file pass through a star.

    Returns:
        What they come from. It does not raise: what cannot be read is said in `unread`.

    Example:
        >>> found = read_columns("select k, sum(x) as s from t group by k", {"t": ["k", "x"]})
        >>> sorted(found.columns)
        ['k', 's']
        >>> sorted(found.rows)
        [Dependency(input='t', column='k', kind='INDIRECT', subtype='group')]
    """
    given = tuple((name, None if columns is None else tuple(columns)) for name, columns in inputs.items())
    return _read(sql, given, None if outputs is None else tuple(outputs))


@lru_cache(maxsize=_KEPT)
def _read(
    sql: str, inputs: tuple[tuple[str, tuple[str, ...] | None], ...], outputs: tuple[str, ...] | None
) -> SqlColumns:
    from tinymlops.features.definitions.sql_queries import Reader

    reader: Reader | None = None
    try:
        reader = Reader(sql, dict(inputs))
        relation = reader.query(reader.tree, None, {})
        items = relation.items if outputs is None else _named(relation, outputs)
    except Exception as error:  # noqa: BLE001 - another release of sqlglot may shape its tree otherwise: then it is not read
        found = reader.tables if reader is not None else ()
        files = reader.files if reader is not None else ()
        tables = tuple(dict.fromkeys([*found, *(name for name, _ in inputs)]))
        return SqlColumns({}, frozenset(), (), tables, frozenset(files), _reason(error))
    whole = Relation(items)
    named = [item[0] for item in items if not isinstance(item, Rest)]
    columns = {name: whole.column(name) or NOTHING for name in named}
    rest = tuple(item for item in items if isinstance(item, Rest))
    return SqlColumns(columns, relation.rows, rest, tuple(reader.tables), frozenset(reader.files))


def _named(relation: Relation, outputs: Sequence[str]) -> list[Item]:
    """Give the columns of a result the names that DuckDB gives them.

    Raises:
        NotReadError: If these are not the columns that were found.
    """
    names = Counter(map(fold, outputs))
    guessed = [item for item in relation.items if not isinstance(item, Rest) and fold(item[0]) not in names]
    if guessed and relation.rests:
        return _named_by_place(relation, outputs)
    twice = {fold(stem_of(name) or "") for name in outputs} | {name for name in names if names[name] > 1}
    of = {name: relation.column(name, alone=fold(name) not in twice) for name in outputs}
    new = [name for name, value in of.items() if value is None]
    if len(new) != len(guessed):
        raise NotReadError("it gives other columns than were found in it")
    # DuckDB makes up names for expressions that have none: these are in the same order.
    of.update(zip(new, (value for _, value in guessed), strict=True))
    return [(name, value) for name, value in of.items() if value is not None]


def _named_by_place(relation: Relation, outputs: Sequence[str]) -> list[Item]:
    """Name columns around one star of unknown columns, some of which have names that DuckDB makes up."""
    more = len(outputs) - len(relation.items)
    if len(relation.rests) != 1 or more < -1:
        raise NotReadError("it gives other columns than were found in it")
    known = {fold(name) for name in outputs}
    found: list[Item] = []
    names = iter(outputs)
    for item in relation.items:
        if isinstance(item, Rest):
            found += [(name, item.column(name)) for _, name in zip(range(more + 1), names, strict=False)]
            continue
        name = next(names)
        if fold(item[0]) in known and fold(item[0]) != fold(name):
            raise NotReadError("it gives its columns in another order than they were found in it")
        found.append((name, item[1]))
    return found


def _reason(error: Exception) -> str:
    from sqlglot.errors import SqlglotError

    if isinstance(error, NotReadError):
        return str(error)
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if not isinstance(error, SqlglotError):
        return f"its tree is not understood ({type(error).__name__})"
    places = getattr(error, "errors", None) or [{}]
    where = f" at line {places[0]['line']}, column {places[0]['col']}" if "line" in places[0] else ""
    return f"sqlglot does not read it{where}"


def _ordered(value: Value) -> list[Dependency]:
    """Sort by input and column; of a column that is DIRECT in several ways, the strongest is kept."""
    strongest = {"identity": 0, "transformation": 1, "aggregation": 2}
    found: dict[tuple[str, ...], Dependency] = {}
    for one in sorted(value, key=lambda one: (one[:3], strongest.get(one.subtype, 0), one.subtype)):
        found[one[:3] if one.kind == "DIRECT" else one] = one
    return sorted(found.values())
