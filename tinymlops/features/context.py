"""The context of every step on features: the workspace, the definitions in force and the user's code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING, Any

import msgspec

from tinymlops.errors import AccessError, DataError, DefinitionError
from tinymlops.features.definitions import specs
from tinymlops.features.definitions.code import find_function, require_same
from tinymlops.features.definitions.definitions import Definitions
from tinymlops.times import Clock, parse_duration, system_clock, to_micros

if TYPE_CHECKING:
    from datetime import timedelta

    import polars as pl

    from tinymlops.config import Config
    from tinymlops.features.definitions.specs import AnySpec, CodeReference
    from tinymlops.records import Definition
    from tinymlops.registry.catalog import Catalog
    from tinymlops.registry.scope import Scope
    from tinymlops.stores.engine import Limits
    from tinymlops.stores.environment import Environment

__all__ = ["Context", "definitions_of", "load_definitions"]


@dataclass(frozen=True)
class Context:
    """The state that ingestion, reads, training sets and predictions work on."""

    scope: Scope
    definitions: Definitions
    functions: Mapping[str, Callable[..., Any]]
    """The user's Python functions by definition name, of the projects applied in this process."""
    root: Path
    """The directory where relative paths in SQL start, and where the project's modules are."""
    config: Config

    @property
    def environment(self) -> Environment:
        """The open stores."""
        return self.scope.environment

    @property
    def clock(self) -> Clock:
        """The workspace's time."""
        return self.scope.clock

    def now(self) -> int:
        """Return the clock's time, microseconds UTC."""
        return time_ns() // 1_000 if self.clock is system_clock else to_micros(self.clock())

    @property
    def replays(self) -> bool:
        """Whether the clock is not the machine's: then ingest accepts only rows available by it."""
        return self.clock is not system_clock

    def function(self, name: str, code: CodeReference) -> Callable[..., Any]:
        """Return the Python function of a definition, as it was applied.

        Raises:
            DefinitionError: If it cannot be found, or has changed since.
        """
        function = self.functions.get(name)
        if function is None:
            return find_function(code, self.root)
        require_same(function, code)
        return function

    def query(
        self,
        sql: str,
        tables: Mapping[str, Any] | None = None,
        *,
        limits: Limits | None = None,
        name: str = "",
    ) -> pl.DataFrame:
        """Run one SELECT of the user over files and these tables.

        Args:
            sql: The SELECT.
            tables: Frames that it may name.
            limits: Its limits; by default those for the SQL of a source or transformation.
            name: The definition with this SQL, for the errors.
        """
        from tinymlops.stores.engine import Limits, query

        if limits is None:
            time = parse_duration(self.config.sql.ingest_timeout, name="ingest_timeout")
            limits = Limits(time=time, setting="ingest_timeout")
        with _naming(name):
            return query(sql, tables=tables, limits=limits, **self._reach())

    def query_columns(self, sql: str, tables: Mapping[str, Any] | None = None) -> dict[str, pl.DataType]:
        """Return the columns that one SELECT of the user would have, without running it."""
        from tinymlops.stores.engine import relation_columns

        return relation_columns(sql, tables=tables, limits=self.sql_limits(), **self._reach())

    def sql_limits(self, *, max_rows: int | None = None, timeout: str | timedelta | None = None) -> Limits:
        """Return the limits of a query in SQL: as given, else those of `tinymlops.toml`."""
        from tinymlops.stores.engine import Limits

        rows = self.config.sql.max_rows if max_rows is None else max_rows
        if rows < 1:
            raise DefinitionError(f"max_rows={max_rows} is not a number of rows", hint="use 1 or more, or leave it out")
        return Limits(rows=rows, time=parse_duration(timeout or self.config.sql.timeout, name="timeout"))

    def _reach(self) -> dict[str, Any]:
        """Return the arguments that limit what the user's SQL may read and use."""
        return {
            "root": self.root,
            "data_dirs": [Path(directory) for directory in self.config.data_dirs],
            "threads": self.config.threads,
            "tmp": self.environment.tmp,
        }

    def with_project(self, new: Iterable[AnySpec], functions: Mapping[str, Callable[..., Any]]) -> Context:
        """Return the same state read by a project's definitions that are not applied yet."""
        return replace(self, definitions=Definitions(new), functions=functions)

    def with_definitions(self, definitions: Definitions) -> Context:
        """Return the same state read by other definitions: those that a model was registered with."""
        return replace(self, definitions=definitions)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Put a definition's name before the error of its SQL."""
    try:
        yield
    except (AccessError, DataError, DefinitionError) as error:
        if not name:
            raise
        raise type(error)(f"source {name!r}: {error.message}", hint=error.hint) from error


def load_definitions(catalog: Catalog) -> Definitions:
    """Read the definitions in force from the catalog."""
    return definitions_of(catalog.list())


def definitions_of(rows: Iterable[Definition]) -> Definitions:
    """Read definitions as stored in the catalog or in a model's manifest."""
    return Definitions(specs.decode(msgspec.json.encode(row.spec)) for row in rows)
