"""The context of every step on features: the workspace, the definitions in force and the user's code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from tinymlops.errors import AccessError, DataError, DefinitionError, NotFoundError
from tinymlops.features.definitions import graph, specs
from tinymlops.features.definitions.code import find_function, is_same, require_same
from tinymlops.features.definitions.definitions import Definitions, in_words, key_of
from tinymlops.features.definitions.nouns import title_of
from tinymlops.features.definitions.specs import OnDemandSpec, SourceSpec, ViewSpec
from tinymlops.times import Clock, parse_duration, system_clock, to_micros

if TYPE_CHECKING:
    from datetime import timedelta

    import numpy as np
    import polars as pl

    from tinymlops.config import Config
    from tinymlops.features.definitions.definitions import Older
    from tinymlops.features.definitions.specs import AnySpec, EmbeddingSpec, FeatureRequest, Nearest
    from tinymlops.records import Definition
    from tinymlops.registry.catalog import Catalog
    from tinymlops.registry.scope import Scope
    from tinymlops.stores.engine import Limits
    from tinymlops.stores.environment import Environment

_NOWHERE: Mapping[str, str] = {}

__all__ = [
    "Context",
    "FindsNeighbours",
    "NeighbourRows",
    "closure",
    "definitions_of",
    "filled",
    "load_definitions",
    "older_in",
    "spec_of",
]


class NeighbourRows(NamedTuple):
    """The rows that are nearest to requests."""

    row: np.ndarray[Any, Any]
    """int64[n], ascending: the request that each is a neighbour of."""
    rows: pl.DataFrame
    """n rows of the embedding's source, of each request the best first: the user's columns, as they were known."""


class FindsNeighbours(Protocol):
    """Gives for each row of a spine the rows of an embedding whose vectors are the nearest, as they were known at its time."""

    def __call__(
        self,
        context: Context,
        spec: EmbeddingSpec,
        nearest: Nearest,
        spine: pl.DataFrame,
        time: np.ndarray[Any, Any],
        *,
        as_of: int | None,
    ) -> NeighbourRows:
        """Return them.

        Args:
            context: The workspace's state, by the definitions and the models that are read.
            spec: The embedding.
            nearest: How many, of what, and the columns of the key that is left out.
            spine: The request fields, m rows.
            time: int64[m], microseconds UTC.
            as_of: Of history only the rows with a sequence up to this one; None for all.

        Raises:
            DataError: If the embedding has no vectors yet, or what is asked for is no text or vector of it.
        """


@dataclass(frozen=True)
class Context:
    """The state that ingestion, reads, training sets and predictions work on."""

    scope: Scope
    definitions: Definitions
    functions: Mapping[str, Callable[..., Any]]
    """The user's Python functions by `kind:name`, of the projects applied in this process."""
    root: Path
    """The directory where relative paths in SQL start, and where the project's modules are."""
    config: Config
    neighbours: FindsNeighbours
    """The room of vectors is above that of history, which asks it this."""

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

    def function(self, spec: SourceSpec | OnDemandSpec) -> Callable[..., Any]:
        """Return the Python function of a definition, as it was applied.

        Raises:
            DefinitionError: If it cannot be found, or has changed since.
        """
        assert spec.code is not None, "asked only of what is Python"
        function = self.functions.get(key_of(spec))
        if function is None:
            return find_function(spec.code, self.root)
        require_same(function, spec.code)
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

    def files_of(self, sql: str) -> list[str]:
        """Return the files that one SELECT of the user reads now, by name."""
        from tinymlops.stores.engine import files_of

        reach = self._reach()
        return files_of(sql, root=reach["root"], data_dirs=reach["data_dirs"])

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
            # Who only reads may be killed at any moment, and then what it made stays.
            "tmp": None if self.environment.only_reads else self.environment.tmp,
        }

    def with_project(self, new: Definitions, functions: Mapping[str, Callable[..., Any]]) -> Context:
        """Return the same state read by a project's definitions that are not applied yet."""
        return replace(self, definitions=new, functions=functions)

    def with_definitions(self, definitions: Definitions) -> Context:
        """Return the same state read by other definitions: those that a model was registered with."""
        return replace(self, definitions=definitions)

    def for_request(self, request: FeatureRequest) -> Context:
        """Return the same state read by the version that a request names, with all that it stands on.

        Raises:
            NotFoundError: If there is no such version.
            DefinitionError: If it needs Python code that has changed since.
        """
        reader = self.definitions.for_request(request)
        if reader is self.definitions:
            return self
        functions = {}
        for spec in _run_at_reads(reader, request):
            assert spec.code is not None, "it is what runs"
            try:
                known = self.functions.get(key_of(spec))
                same = known is not None and is_same(known, spec.code)
                functions[key_of(spec)] = known if known and same else find_function(spec.code, self.root)
            except DefinitionError as error:
                raise DefinitionError(
                    f"{title_of(request)} cannot be read beside its successor: {error.message}",
                    hint=f"keep its module as it is and write the new {spec.name} in another one, or write both in SQL or "
                    "as expressions",
                ) from error
        return replace(self, definitions=reader, functions=functions)


def _run_at_reads(definitions: Definitions, request: FeatureRequest) -> list[SourceSpec | OnDemandSpec]:
    """Return the definitions whose Python code runs when a request is read."""
    if request.on_demand:
        on_demand = definitions.get(OnDemandSpec, request.view)
        return [] if on_demand.code is None else [on_demand]
    view = definitions.get(ViewSpec, request.view)
    sources = graph.lineage(definitions, definitions.get(SourceSpec, view.source))
    return [source for source in sources if source.row_wise and source.code is not None]


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
    return definitions_of(catalog.list(), older=partial(older_in, catalog), places=catalog.places())


def definitions_of(
    rows: Iterable[Definition],
    variants: Iterable[Definition] = (),
    *,
    older: Older | None = None,
    places: Mapping[str, str] = _NOWHERE,
    fitted: Mapping[str, str] = _NOWHERE,
) -> Definitions:
    """Read definitions as stored in the catalog or in a model's manifest.

    Args:
        rows: Each kind and name once.
        variants: Versions that requests name, with all that they stand on.
        older: Gives such versions otherwise.
        places: Renamed source to the name that its rows are stored under.
        fitted: Embedding to the fingerprint of the model that made its vectors.
    """
    rows, pinned = list(rows), list(variants)
    return Definitions(
        map(spec_of, rows),
        versions={f"{row.kind}:{row.name}": row.version for row in rows},
        older=partial(_pinned, pinned) if pinned else older,
        places=places,
        fitted=fitted,
    )


def spec_of(row: Definition) -> AnySpec:
    """Return the definition that a row of the catalog holds."""
    return specs.decode(msgspec.json.encode(row.spec))


def closure(row: Definition, version: Callable[[str, str, int], Definition]) -> Definitions:
    """Return one version of a definition with all that it stands on.

    Args:
        row: The version.
        version: Gives others by kind, name and number.

    Raises:
        NotFoundError: If nobody recorded what it stands on.
    """
    if not row.below:
        raise NotFoundError(
            f"{in_words(row.kind)} {row.name} v{row.version} is from before versions recorded what they stand on",
            hint="apply that definition again: it becomes the newest version",
        )
    found = [row]
    for key, number in row.below.items():
        kind, _, name = key.partition(":")
        found.append(version(kind, name, number))
    return definitions_of(found)


def filled(rows: Sequence[Definition]) -> list[Definition]:
    """Return definitions in force with what those of before schema 4 stand on, which nobody had recorded."""
    if all(row.logic for row in rows):
        return list(rows)
    definitions = definitions_of(rows)
    return [row if row.logic else _filled(row, definitions) for row in rows]


def _filled(row: Definition, definitions: Definitions) -> Definition:
    spec = spec_of(row)
    below = {key: definitions.versions[key] for key in graph.below(definitions, spec)}
    return msgspec.structs.replace(row, below=below, logic=specs.logic(spec))


def older_in(catalog: Catalog, kind: str, name: str, chosen: int | str) -> Definitions:
    """Return a version of a definition with all that it stands on, as the catalog has them.

    Args:
        catalog: What was applied.
        kind: Of the definition.
        name: Its name.
        chosen: The version's number, or the name of a variant.

    Raises:
        NotFoundError: If there is none, or nobody recorded what it stands on.
    """
    row = catalog.version(kind, name, chosen)
    if not row.below and row.removed_at is None:
        row = next(one for one in filled(catalog.list()) if (one.kind, one.name) == (kind, name))
    return closure(row, catalog.version)


def _pinned(rows: Sequence[Definition], kind: str, name: str, chosen: int | str) -> Definitions:
    def version(kind: str, name: str, number: int | str) -> Definition:
        found = [row for row in rows if (row.kind, row.name) == (kind, name) and number in (row.version, row.variant)]
        if not found:
            raise NotFoundError(f"{in_words(kind)} {name}@{number} was not kept with what was built with it")
        return found[-1]

    return closure(version(kind, name, chosen), version)
