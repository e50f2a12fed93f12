"""The neighbours of requests, for features of theirs: of many over all rows, of a few from the image, with the same bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from tinymlops.features.context import NeighbourRows
from tinymlops.features.definitions.declaring_embeddings import key_of_rows
from tinymlops.features.embedded.made import made_vectors
from tinymlops.features.embedded.models import TFIDF
from tinymlops.features.embedded.texts import KnownTexts
from tinymlops.features.history.embedding_columns import matrix_of_texts, model_of, reads_of
from tinymlops.features.vectors.arranged import arrange
from tinymlops.features.vectors.compared import FEW, SCORE, Queries, compared, given, own_of
from tinymlops.features.vectors.parts import part_of
from tinymlops.features.vectors.reading import are_stored, read
from tinymlops.features.vectors.rows import read_rows
from tinymlops.features.vectors.standing import Standing, standing_of
from tinymlops.registry.vectors import state_of_embedding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import EmbeddingSpec, Nearest
    from tinymlops.features.embedded.column import Matrix
    from tinymlops.features.vectors.parts import Part
    from tinymlops.records import FittedModel

__all__ = ["neighbour_rows"]

Array = np.ndarray[Any, Any]


def neighbour_rows(
    context: Context, spec: EmbeddingSpec, nearest: Nearest, spine: pl.DataFrame, time: Array, *, as_of: int | None
) -> NeighbourRows:
    """Return the neighbours of each row of a spine, as the rows that were known of them; see `Context.neighbours`."""
    asked = _Asked(context, spec, nearest, spine, time, as_of)
    if spine.height <= FEW and asked.is_in_force:
        found = asked.from_image()
        if found is not None:
            return found
    return asked.from_rows()


class _Asked:
    """The neighbours that are asked for, by the model that the definitions pin, or else by that in force."""

    def __init__(
        self,
        context: Context,
        spec: EmbeddingSpec,
        nearest: Nearest,
        spine: pl.DataFrame,
        time: Array,
        as_of: int | None,
    ) -> None:
        self._context, self._spec, self._nearest = context, spec, nearest
        self._spine, self._time = spine, time
        self._sequence = context.environment.database.sequence() if as_of is None else as_of
        self._names = key_of_rows(context.definitions, spec)
        self._keys = [spine[name] for name in nearest.key]
        self.is_in_force = True
        self._model: FittedModel | None = None
        self._standing = standing_of(context, spec) if spec.text is None else self._of_texts()

    def from_image(self) -> NeighbourRows | None:
        """Search the image and the rows after it; None where there is no image, or it is not what the store has."""
        found = read(self._context, self._standing, self._sequence)
        if found is None:
            return None
        hits = self._hits(found.parts, found.image.arranged.vectors.shape[1])
        if not all(are_stored(self._context, self._standing, one) for one in hits):
            return None
        return self._best(hits)

    def from_rows(self) -> NeighbourRows:
        """Compare with all rows."""
        rows = read_rows(self._context, self._spec, as_of=self._sequence)
        dimension = self._standing.dimension(rows) if self._model is None else self._model.dimension
        kept, vectors = self._standing.with_vectors(rows, dimension)
        part = part_of(arrange(self._context.definitions, self._spec, kept, vectors))
        if dimension is None:  # no row has a vector yet
            return NeighbourRows(np.empty(0, np.int64), part.arranged.rows[:0])
        return self._best(self._hits([part], dimension))

    def _of_texts(self) -> Standing:
        model = self._model = model_of(self._context, self._spec)
        state = state_of_embedding(self._context.environment.database, self._spec.name)
        texts = _Texts(self._context, self._spec, model)
        if state is None or state.model != model.model or state.reads != reads_of(self._context, self._spec):
            self.is_in_force = False
            return Standing(self._spec, None, 0, texts)
        failed = standing_of(self._context, self._spec).failed
        return Standing(self._spec, state, state.covered, texts, failed)

    def _hits(self, parts: Sequence[Part], dimension: int) -> list[pl.DataFrame]:
        asked = self._queries(parts, dimension)
        k = self._nearest.k
        return [compared(one, self._spec, asked, self._time, self._keys, self._names, k) for one in parts]

    def _queries(self, parts: Sequence[Part], dimension: int) -> Queries:
        of = self._nearest.of
        if of is None:
            return own_of(parts, self._keys, self._names, self._time)
        column = self._spine[of]
        asked = given(self._context, self._standing, column, dimension)
        if self._model is None or self._spec.model == TFIDF or asked.row.size == len(column):
            return asked
        return self._embedded(asked, column)

    def _embedded(self, asked: Queries, column: pl.Series) -> Queries:
        """Add the texts that no row of the embedding has: its model is asked for them."""
        assert self._model is not None, "it has texts"
        left = pl.Series(np.isin(np.arange(len(column)), asked.row)).not_() & column.is_not_null()
        texts = column.filter(left).unique(maintain_order=True).to_list()
        made = made_vectors(self._context, self._spec, self._model, texts)
        more = [row for row in left.arg_true().to_list() if column[row] in made]
        if not more:
            return asked
        rows = np.concatenate([asked.row, more])
        vectors = np.concatenate([asked.vectors, np.stack([made[column[row]] for row in more]).astype(np.float32)])
        order = np.argsort(rows, kind="stable")
        return Queries(rows[order], vectors[order])

    def _best(self, hits: Sequence[pl.DataFrame]) -> NeighbourRows:
        """Return the best of what was found in each part: of equal scores those with the smaller keys."""
        best = hits[0]
        if len(hits) > 1:
            order = ["__row", SCORE, *self._names]
            descending = [False, True, *([False] * len(self._names))]
            best = pl.concat(hits).sort(order, descending=descending, maintain_order=True)
            best = best.filter(pl.int_range(pl.len()).over("__row") < self._nearest.k)
        return NeighbourRows(best["__row"].to_numpy(), best.drop("__row", SCORE))


class _Texts(KnownTexts):
    """The texts of an embedding by one model; TF-IDF makes the vectors of those that wait."""

    makes = True

    def __init__(self, context: Context, spec: EmbeddingSpec, model: FittedModel) -> None:
        super().__init__(context.environment, model.model, model.dimension)
        self._by = (context, spec, model)

    def matrix_of(self, column: pl.Series) -> Matrix:
        """Return the vectors of a column of text; a text without one, and a null, has none."""
        return matrix_of_texts(*self._by, column)
