"""The neighbours of many rows, each as known at its own time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from tinymlops.errors import DataError, near
from tinymlops.features.definitions.declaring_embeddings import key_of_rows
from tinymlops.features.definitions.neighbours import MOST_NEIGHBOURS
from tinymlops.features.definitions.specs import EntitySpec
from tinymlops.features.history.historical import spine_times
from tinymlops.features.vectors.arranged import arrange
from tinymlops.features.vectors.compared import SCORE, compared, given, own_of
from tinymlops.features.vectors.fits import standings_at
from tinymlops.features.vectors.parts import part_of
from tinymlops.features.vectors.rows import read_rows
from tinymlops.frames import to_polars

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import EmbeddingSpec
    from tinymlops.features.vectors.standing import Standing
    from tinymlops.frames import Frame

__all__ = ["find_neighbours"]

Array = np.ndarray[Any, Any]

_ADDED = ("row", "score")


def find_neighbours(
    context: Context,
    spec: EmbeddingSpec,
    spine: Frame,
    *,
    k: int,
    of: str | None,
    timestamp: str,
    tz: str | None,
    as_of: int | None,
) -> pl.DataFrame:
    """Return the neighbours of each row of a spine; see `ws.vectors.neighbours`."""
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= MOST_NEIGHBOURS:
        raise DataError(f"k={k!r} is not a number of neighbours", hint=f"use 1 to {MOST_NEIGHBOURS:,}")
    rows = to_polars(spine)
    time = spine_times(rows, timestamp, tz=tz)
    names, columns = key_of_rows(context.definitions, spec), _key_of_spine(context, spec)
    _require_columns(rows, columns, of, timestamp)
    stored = read_rows(context, spec, as_of=as_of)
    found = []
    for standing, part in standings_at(context, spec, time, as_of=as_of):
        some = _Spine(rows[part], time[part], names, columns, of, timestamp)
        of_part = _neighbours(context, standing, stored, some, k)
        found.append(of_part.with_columns(row=pl.Series(part, dtype=pl.Int64).gather(of_part["row"])))
    return found[0] if len(found) == 1 else pl.concat(found).sort("row", maintain_order=True)


class _Spine(NamedTuple):
    """Rows whose neighbours are asked for, checked."""

    rows: pl.DataFrame
    time: Array
    """int64[n], microseconds UTC."""
    names: list[str]
    """The key columns of the embedding's rows."""
    columns: list[str]
    """The same of the spine."""
    of: str | None
    timestamp: str


def _neighbours(context: Context, standing: Standing, stored: pl.DataFrame, spine: _Spine, k: int) -> pl.DataFrame:
    """Return the neighbours of rows at whose times the same model was in force."""
    spec, (rows, time, names, columns, of, timestamp) = standing.spec, spine
    dimension = standing.dimension(stored)
    if dimension is None:
        raise DataError(
            f"embedding {spec.name!r} has no vectors yet",
            hint=f"push or ingest rows of {spec.source!r} that have one"
            if spec.vector is not None
            else f"call ws.vectors.follow({spec.name!r}) when it has rows",
        )
    part = part_of(arrange(context.definitions, spec, *standing.with_vectors(stored, dimension)))
    keys = [rows[name] for name in columns] if set(columns) <= set(rows.columns) else None
    asked = own_of([part], keys or [], names, time) if of is None else given(context, standing, rows[of], dimension)
    found = compared(part, spec, asked, time, keys, names, k)
    row = found["__row"].to_numpy()
    return pl.DataFrame(
        [
            found["__row"].alias("row"),
            *(found[name].alias(column) for name, column in zip(names, columns, strict=True)),
            rows[timestamp].gather(row),
            found[SCORE].alias("score"),
        ]
    )


def _key_of_spine(context: Context, spec: EmbeddingSpec) -> list[str]:
    if spec.entity is None:
        return key_of_rows(context.definitions, spec)
    return list(context.definitions.get(EntitySpec, spec.entity).key)


def _require_columns(rows: pl.DataFrame, columns: list[str], of: str | None, timestamp: str) -> None:
    needed = columns if of is None else [of]
    for name in needed:
        if name not in rows.columns:
            raise DataError(
                f"the spine has no column {name!r}, whose neighbours are asked for", hint=near(name, rows.columns)
            )
    for name in _ADDED:
        if name in (*columns, timestamp):
            raise DataError(f"the answer has a column {name!r} of its own", hint="rename that of the spine")
