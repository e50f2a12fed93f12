"""The vectors of texts that were embedded: looked up by the hash of the text in the files of a model."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tinymlops.embedders.texts import text_key
from tinymlops.features.embedded.column import Matrix
from tinymlops.registry.vectors import files_of
from tinymlops.stores.vector_files import open_vectors

if TYPE_CHECKING:
    from collections.abc import Iterable

    import polars as pl

    from tinymlops.stores.environment import Environment
    from tinymlops.stores.vector_files import VectorTable

__all__ = ["KnownTexts"]

Array = np.ndarray[Any, Any]
_PATIENCE = 60.0


class KnownTexts:
    """The texts that a model has embedded, as they are now.

    Args:
        environment: The workspace's stores.
        model: Fingerprint of the model; None where it has none yet.
        dimension: Of its vectors.
    """

    makes = False
    """Whether it makes the vectors that it does not find."""

    def __init__(self, environment: Environment, model: str | None, dimension: int) -> None:
        self._environment, self._model, self._dimension = environment, model, dimension

    @cached_property
    def files(self) -> tuple[str, ...]:
        """The names of the files that have their vectors."""
        return self._names()

    @cached_property
    def _tables(self) -> list[VectorTable]:
        blobs, remembered, key = self._environment.blobs, self._environment.remembered, ("vectors", self._model)
        kept: dict[str, VectorTable] = remembered.get(key, None) or {}
        # No file may be removed before it is open.
        with self._environment.gc_lock.shared(deadline=_PATIENCE):
            names = self._names()
            for sha256 in names:
                blobs.path(sha256)  # compares it with its hash if it was changed since
            tables = {sha256: kept.get(sha256) or open_vectors(blobs, sha256) for sha256 in names}
        remembered.put(key, None, tables)
        return list(tables.values())

    def _names(self) -> tuple[str, ...]:
        if self._model is None:
            return ()
        return tuple(file.sha256 for file in files_of(self._environment.database, self._model))

    def missing(self, texts: Iterable[str]) -> list[str]:
        """Return the texts that have no vector yet, each once, in their order."""
        wanted = list(dict.fromkeys(texts))
        places = self._find(list(map(text_key, wanted)))
        return [text for text, (table, _) in zip(wanted, places, strict=True) if table < 0]

    def matrix_of(self, column: pl.Series) -> Matrix:
        """Return the vectors of a column of text; a text without one, and a null, has none."""
        different = column.drop_nulls().unique(maintain_order=True)
        places = self._find([text_key(text) for text in different.to_list()])
        found = places[:, 0] >= 0
        values = np.empty((int(found.sum()), self._dimension), np.float32)
        numbers = np.full(different.len(), -1, np.int64)
        numbers[found] = np.arange(len(values))
        for place, table in enumerate(self._tables):
            rows = places[:, 0] == place
            if rows.any():
                values[numbers[rows]] = table.vectors[places[rows, 1]]
        return Matrix(values, _numbered(column, different, numbers), {})

    def _find(self, keys: list[bytes]) -> Array:
        """Return int64[m, 2]: which table has each key, and where in it; -1 for none."""
        places = np.full((len(keys), 2), -1, np.int64)
        hashes = np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), -1) if keys else np.empty((0, 32), np.uint8)
        for number, table in enumerate(self._tables):
            left = np.flatnonzero(places[:, 0] < 0)
            if not left.size:
                break
            found = table.find(hashes[left])
            hit = left[found >= 0]
            places[hit, 0], places[hit, 1] = number, found[found >= 0]
        return places


def _numbered(column: pl.Series, different: pl.Series, numbers: Array) -> Array:
    import polars as pl

    known = pl.DataFrame({"text": different, "number": numbers})
    rows = pl.DataFrame({"text": column}).join(known, on="text", how="left", maintain_order="left")
    found: Array = rows["number"].fill_null(-1).to_numpy()
    return found
