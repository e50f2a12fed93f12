"""The rows that an embedding searches, with their vectors, and when each is what is known of its key.

At every moment a key has one row, the one that any read at that moment finds (`kernels/asof.py`). So a row is searched in a
span of time, and a search at `t` compares two numbers for each span.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from tinymlops.features.compute.arranged import arrange_rows, key_columns
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.declaring_embeddings import key_of_rows
from tinymlops.features.definitions.specs import SourceSpec
from tinymlops.kernels.asof import latest
from tinymlops.kernels.nearest import lengths
from tinymlops.kernels.records import FOREVER, TOMBSTONE
from tinymlops.keys import encode

if TYPE_CHECKING:
    from tinymlops.features.definitions.definitions import Definitions
    from tinymlops.features.definitions.specs import EmbeddingSpec
    from tinymlops.kernels.records import Records

__all__ = ["VECTOR", "Arranged", "Spans", "are_around", "arrange", "known_at"]

Array = np.ndarray[Any, Any]
VECTOR = "__vector"
"""The column with the number of each row's vector; -1 for none."""


class Spans(NamedTuple):
    """When each row is what is known of its key: `begins <= t < ends`, microseconds UTC; FOREVER is no end."""

    row: Array
    """int64[s], in the order of the keys, and then of time."""
    begins: Array
    """int64[s]."""
    ends: Array
    """int64[s]."""


class Arranged(NamedTuple):
    """Rows in the order of their keys, with vectors."""

    rows: pl.DataFrame
    """n rows: the user's columns, `__event`, `__created`, `__sequence` and `__deleted`."""
    keys: pl.DataFrame
    """K different keys, ascending."""
    key: Array
    """int64[n]: the key of each row."""
    spans: Spans
    vectors: Array
    """float32[u, d]."""
    lengths: Array
    """float64[u]."""
    vector: Array
    """int64[n]: the vector of each row; -1 for none."""


def arrange(definitions: Definitions, spec: EmbeddingSpec, rows: pl.DataFrame, vectors: Array) -> Arranged:
    """Arrange rows for search.

    Args:
        definitions: The definitions in force.
        spec: The embedding.
        rows: All rows of its source, or all of some keys, as `stored_rows` returns them, and `__vector`: their vectors.
        vectors: float32[u, d].

    Raises:
        DataError: If a key column is missing.
    """
    source = graph.origin(definitions, definitions.get(SourceSpec, spec.source))
    names = key_of_rows(definitions, spec)
    columns = key_columns(rows, source, names)
    keys = pl.DataFrame(columns).unique().drop_nulls().sort(pl.all())
    of_keys, of_rows, _ = encode(keys.get_columns(), columns, names)
    places = np.full(int(of_keys.max(initial=-1)) + 2, -1, np.int64)
    places[of_keys] = np.arange(of_keys.size)
    codes = places[np.minimum(of_rows, places.size - 1)]
    records, order = arrange_rows(rows, source, codes, max(1, keys.height), outcome=False)
    kept = rows[order]
    key = np.repeat(np.arange(keys.height), np.diff(records.offsets)[: keys.height])
    vector = kept[VECTOR].to_numpy()
    return Arranged(kept.drop(VECTOR), keys, key, _spans(records, key), vectors, lengths(vectors), vector)


def known_at(spans: Spans, t: int) -> Array:
    """Return the rows that are known at a time, one of each key at most, in the order of the keys."""
    around = are_around(spans, t)
    rows: Array = spans.row if around.all() else spans.row[around]
    return rows


def are_around(spans: Spans, t: int) -> Array:
    """Return bool[s], which spans are around a time."""
    around: Array = spans.begins <= t
    around &= t < spans.ends  # FOREVER is after every t
    return around


def _spans(records: Records, key: Array) -> Spans:
    """Ask the rule at each moment at which what is known of a key may change."""
    of = np.concatenate([key, key])
    moments = np.concatenate([records.visible_from, records.visible_to])
    real = moments != FOREVER
    of, moments = of[real], moments[real]
    sorted_ = np.lexsort((moments, of))
    of, moments = of[sorted_], moments[sorted_]
    new = np.ones(of.size, np.bool_)
    new[1:] = (of[1:] != of[:-1]) | (moments[1:] != moments[:-1])
    of, moments = of[new], moments[new]
    winner = latest(records, of, moments, strict=False)
    changes = np.ones(of.size, np.bool_)
    changes[1:] = (of[1:] != of[:-1]) | (winner[1:] != winner[:-1])
    of, moments, winner = of[changes], moments[changes], winner[changes]
    ends = np.full(of.size, FOREVER, np.int64)
    ends[:-1] = np.where(of[1:] == of[:-1], moments[1:], FOREVER)
    there = winner >= 0
    there[there] = records.kind[winner[there]] != TOMBSTONE
    return Spans(winner[there], moments[there], ends[there])
